// The Go driver's client under faults; ../README.md says what all of them do.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/config"
)

const (
	count  = "MATCH (c:Counter {id: $worker}) SET c.n = c.n + 1"
	create = "CREATE (:Write {id: $id, attempt: $attempt})"
	look   = "OPTIONAL MATCH (w:Write {id: $id}) WITH count(w) AS there MATCH (c:Counter {id: $worker}) RETURN there, c.n AS count"
)

type parameters = map[string]any

var (
	ctx      = context.Background()
	name     = os.Getenv("NORNICDB_NAME")
	pause    = time.Duration(number("NORNICDB_PAUSE_MS")) * time.Millisecond
	driver   neo4j.DriverWithContext
	stopped  atomic.Bool
	printing sync.Mutex
)

func number(setting string) int {
	value, err := strconv.Atoi(os.Getenv(setting))
	must(err)
	return value
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func now() float64 { return float64(time.Now().UnixMilli()) / 1e3 }

func say(line parameters) {
	text, err := json.Marshal(line)
	must(err)
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(text))
}

// named says of what class an error is, and what is inside where the class alone does not tell.
func named(err error) string {
	var failed *neo4j.Neo4jError
	var lost *neo4j.ConnectivityError
	switch {
	case errors.As(err, &failed):
		return fmt.Sprintf("Neo4jError %s: %v", failed.Code, err)
	case errors.As(err, &lost):
		return fmt.Sprintf("ConnectivityError %s: %v", strings.TrimPrefix(fmt.Sprintf("%T", lost.Inner), "*errorutil."), err)
	}
	return fmt.Sprintf("%T : %v", err, err)
}

func with(p parameters, attempt int) parameters {
	out := parameters{"attempt": attempt}
	for k, v := range p {
		out[k] = v
	}
	return out
}

type worker struct {
	number, kind, attempts, acknowledged int
	id                                   string
	manager                              neo4j.BookmarkManager
	bookmarks                            neo4j.Bookmarks
}

func newWorker(number int) *worker {
	w := &worker{number: number, kind: number % 3, id: fmt.Sprintf("%s-%d", name, number)}
	_, err := neo4j.ExecuteQuery(ctx, driver, "MERGE (c:Counter {id: $worker}) SET c.n = 0", parameters{"worker": w.id},
		neo4j.EagerResultTransformer)
	must(err)
	w.bookmarks, err = driver.ExecuteQueryBookmarkManager().GetBookmarks(ctx)
	must(err)
	w.manager = neo4j.NewBookmarkManager(neo4j.BookmarkManagerConfig{InitialBookmarks: w.bookmarks})
	return w
}

// inSession runs work in a session of its own, which has seen what the one before it has.
func (w *worker) inSession(work func(s neo4j.SessionWithContext) (any, error)) (any, error) {
	c := neo4j.SessionConfig{Bookmarks: w.bookmarks}
	if w.kind == 1 {
		c = neo4j.SessionConfig{DatabaseName: "neo4j", BookmarkManager: w.manager}
	}
	s := driver.NewSession(ctx, c)
	defer s.Close(ctx)
	result, err := work(s)
	if err == nil {
		w.bookmarks = s.LastBookmarks()
	}
	return result, err
}

func consume(tx neo4j.ManagedTransaction, text string, p parameters) error {
	result, err := tx.Run(ctx, text, p)
	if err == nil {
		_, err = result.Consume(ctx)
	}
	return err
}

func (w *worker) write(p parameters) error {
	if w.kind == 0 {
		_, err := neo4j.ExecuteQuery(ctx, driver, count+" "+create, with(p, 0), neo4j.EagerResultTransformer)
		return err
	}
	_, err := w.inSession(func(s neo4j.SessionWithContext) (any, error) {
		return s.ExecuteWrite(ctx, func(tx neo4j.ManagedTransaction) (any, error) {
			w.attempts++
			if err := consume(tx, count, p); err != nil {
				return nil, err
			}
			return nil, consume(tx, create, with(p, w.attempts))
		})
	})
	return err
}

func (w *worker) read(p parameters) (*neo4j.Record, error) {
	if w.kind == 0 {
		found, err := neo4j.ExecuteQuery(ctx, driver, look, p, neo4j.EagerResultTransformer, neo4j.ExecuteQueryWithReadersRouting())
		if err != nil {
			return nil, err
		}
		return found.Records[0], nil
	}
	found, err := w.inSession(func(s neo4j.SessionWithContext) (any, error) {
		return s.ExecuteRead(ctx, func(tx neo4j.ManagedTransaction) (any, error) {
			result, err := tx.Run(ctx, look, p)
			if err != nil {
				return nil, err
			}
			return result.Single(ctx)
		})
	})
	if err != nil {
		return nil, err
	}
	return found.(*neo4j.Record), nil
}

func (w *worker) round(number int) {
	p := parameters{"worker": w.id, "id": fmt.Sprintf("%s-%d", w.id, number)}
	line := parameters{"worker": w.number, "number": number, "began": now(), "write": "", "read": ""}
	w.attempts = 0
	if err := w.write(p); err != nil {
		line["write"] = named(err)
	} else {
		w.acknowledged++
	}
	if record, err := w.read(p); err != nil {
		line["read"] = named(err)
	} else {
		line["there"], line["count"] = record.Values[0], record.Values[1]
	}
	line["attempts"], line["ended"], line["acknowledged"] = w.attempts, now(), w.acknowledged
	say(line)
}

func main() {
	var members []config.ServerAddress
	for _, member := range strings.Split(os.Getenv("NORNICDB_MEMBERS"), ",") {
		host, port, _ := strings.Cut(member, ":")
		members = append(members, neo4j.NewServerAddress(host, port))
	}
	var err error
	driver, err = neo4j.NewDriverWithContext("neo4j://cluster:7687",
		neo4j.BasicAuth(os.Getenv("NORNICDB_USER"), os.Getenv("NORNICDB_PASSWORD"), ""), func(c *config.Config) {
			c.AddressResolver = func(address config.ServerAddress) []config.ServerAddress {
				if address.Hostname() == "cluster" {
					return members
				}
				return []config.ServerAddress{address}
			}
		})
	must(err)
	defer driver.Close(ctx)
	var workers []*worker
	for i := 0; i < number("NORNICDB_WORKERS"); i++ {
		workers = append(workers, newWorker(i))
	}
	say(parameters{"ready": true})
	var working sync.WaitGroup
	for _, w := range workers {
		working.Add(1)
		go func(w *worker) {
			defer working.Done()
			for round := 1; !stopped.Load(); round++ {
				w.round(round)
				time.Sleep(pause)
			}
		}(w)
	}
	bufio.NewReader(os.Stdin).ReadString('\n')
	stopped.Store(true)
	working.Wait()
	say(parameters{"done": true})
}
