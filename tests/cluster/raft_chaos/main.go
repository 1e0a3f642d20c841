// chaos works on a cluster through the official driver while somebody else breaks it, records what each client was told, and
// checks the histories: registers and lists by porcupine for linearizability, transfers between accounts for their sum, a set for
// what was lost or came twice, sessions for what they have seen already.
//
//	chaos -members 127.0.0.1:7687,127.0.0.1:7688,… -user admin -pass admin
//
// It works until "stop" comes on its standard input; by then the cluster should be whole again. Its last line counts the checks.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/config"
)

type parameters = map[string]any

var (
	ctx     = context.Background()
	start   = time.Now()
	members []string
	stopped atomic.Bool
	// begun is what prepare did: reads are causal, so a client that must find it has to say so.
	begun   neo4j.Bookmarks
	options struct {
		members, user, password, pictures string
		seed                              int64
	}
)

func now() int64 { return int64(time.Since(start)) }

// outcome is what a client knows of what it asked for.
type outcome int

const (
	done    outcome = iota
	nothing         // It did not happen, and never will.
	unknown
)

// told sorts an error. What the server or the driver says about a transaction that it gave up is believed: if it is not true, the
// histories show it.
func told(err error) outcome {
	var failed *neo4j.Neo4jError
	switch {
	case err == nil:
		return done
	case errors.As(err, &failed):
		if failed.Code == "Neo.DatabaseError.Transaction.TransactionCommitFailed" {
			return unknown
		}
		return nothing
	case strings.Contains(err.Error(), "dial tcp"):
		return nothing // There was no connection.
	}
	return unknown // The connection broke, perhaps in a commit.
}

// tally counts outcomes, for people.
type tally struct {
	mutex  sync.Mutex
	counts map[string]int
}

var counted = tally{counts: map[string]int{}}

func (t *tally) add(kind string, err error) {
	text := [...]string{"done", "nothing", "unknown"}[told(err)]
	var failed *neo4j.Neo4jError
	if errors.As(err, &failed) {
		text += " " + failed.Code[strings.LastIndexByte(failed.Code, '.')+1:]
	}
	t.mutex.Lock()
	t.counts[kind+" "+text]++
	t.mutex.Unlock()
}

func routed() neo4j.DriverWithContext {
	addresses := make([]config.ServerAddress, 0, len(members))
	for _, member := range members {
		host, port, _ := strings.Cut(member, ":")
		addresses = append(addresses, neo4j.NewServerAddress(host, port))
	}
	driver, err := neo4j.NewDriverWithContext("neo4j://cluster:7687", neo4j.BasicAuth(options.user, options.password, ""),
		func(c *config.Config) {
			c.AddressResolver = func(address config.ServerAddress) []config.ServerAddress {
				if address.Hostname() == "cluster" {
					return addresses
				}
				return []config.ServerAddress{address}
			}
			c.MaxTransactionRetryTime = 10 * time.Second
			c.SocketConnectTimeout = time.Second
			c.ConnectionAcquisitionTimeout = 3 * time.Second
		})
	if err != nil {
		panic(err)
	}
	return driver
}

func direct(member string) neo4j.DriverWithContext {
	driver, err := neo4j.NewDriverWithContext("bolt://"+member, neo4j.BasicAuth(options.user, options.password, ""),
		func(c *config.Config) {
			c.SocketConnectTimeout = time.Second
			c.ConnectionAcquisitionTimeout = 3 * time.Second
		})
	if err != nil {
		panic(err)
	}
	return driver
}

// limited bounds one operation: a client that waits for a paused process would only wait.
func limited(seconds float64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
}

// managed runs one statement as a transaction function, which the driver tries again where that is safe.
func managed(s neo4j.SessionWithContext, write bool, text string, p parameters) ([]*neo4j.Record, error) {
	c, cancel := limited(15)
	defer cancel()
	work := func(tx neo4j.ManagedTransaction) (any, error) {
		result, err := tx.Run(c, text, p)
		if err != nil {
			return nil, err
		}
		return result.Collect(c)
	}
	run := s.ExecuteRead
	if write {
		run = s.ExecuteWrite
	}
	rows, err := run(c, work)
	if err != nil {
		return nil, err
	}
	return rows.([]*neo4j.Record), nil
}

// once runs one autocommit statement, which no driver tries again.
func once(s neo4j.SessionWithContext, text string, p parameters) ([]*neo4j.Record, error) {
	c, cancel := limited(15)
	defer cancel()
	result, err := s.Run(c, text, p)
	if err != nil {
		return nil, err
	}
	return result.Collect(c)
}

// clients runs count loops until the end; each has a session of its own and a seed.
func clients(working *sync.WaitGroup, driver neo4j.DriverWithContext, count int, pause time.Duration, mode neo4j.AccessMode,
	do func(s neo4j.SessionWithContext, client int, random *rand.Rand) error) {
	for i := 0; i < count; i++ {
		client := int(nextClient.Add(1))
		working.Add(1)
		go func() {
			defer working.Done()
			random := rand.New(rand.NewSource(options.seed*1000 + int64(client)))
			s := driver.NewSession(ctx, neo4j.SessionConfig{AccessMode: mode, Bookmarks: begun})
			defer s.Close(ctx)
			for !stopped.Load() {
				rest := pause
				if do(s, client, random) != nil {
					rest += 50 * time.Millisecond // It would only be refused again.
				}
				time.Sleep(time.Duration((0.5 + random.Float64()) * float64(rest)))
			}
		}()
	}
}

var nextClient atomic.Int64

func main() {
	flag.StringVar(&options.members, "members", "", "host:port of each member, comma-separated")
	flag.StringVar(&options.user, "user", "admin", "user name")
	flag.StringVar(&options.password, "pass", "admin", "password")
	flag.StringVar(&options.pictures, "pictures", ".", "folder for pictures of histories that are wrong")
	flag.Int64Var(&options.seed, "seed", 1, "of what clients do")
	flag.Parse()
	members = strings.Split(options.members, ",")
	if err := run(); err != nil {
		fmt.Println("chaos:", err)
		os.Exit(1)
	}
}

func run() error {
	driver := routed()
	defer driver.Close(ctx)
	var err error
	if begun, err = prepare(driver); err != nil {
		return err
	}
	fmt.Println("working")
	workloads := []workload{newRegisters(), newLists(), newBank(), newSet(), newSessions()}
	var working sync.WaitGroup
	for _, w := range workloads {
		w.work(&working, driver)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() && lines.Text() != "stop" {
	}
	stopped.Store(true)
	working.Wait()

	counted.mutex.Lock()
	fmt.Println("outcomes:", counted.counts)
	counted.mutex.Unlock()
	passed, failed := 0, 0
	for _, w := range workloads {
		for _, v := range w.check(driver) {
			if v.ok {
				passed++
				fmt.Println("ok      ", v.what)
			} else {
				failed++
				fmt.Println("FAILED  ", v.what)
			}
		}
	}
	fmt.Printf("%d passed, %d failed, 0 skipped\n", passed, failed)
	return nil
}

type verdict struct {
	ok   bool
	what string
}

type workload interface {
	work(working *sync.WaitGroup, driver neo4j.DriverWithContext)
	check(driver neo4j.DriverWithContext) []verdict
}

func prepare(driver neo4j.DriverWithContext) (neo4j.Bookmarks, error) {
	s := driver.NewSession(ctx, neo4j.SessionConfig{})
	defer s.Close(ctx)
	for label, property := range map[string]string{"Reg": "k", "List": "k", "Account": "i", "Own": "c"} {
		text := fmt.Sprintf("CREATE CONSTRAINT c_%s IF NOT EXISTS FOR (n:%s) REQUIRE n.%s IS UNIQUE", label, label, property)
		if _, err := once(s, text, nil); err != nil {
			return nil, err
		}
	}
	_, err := managed(s, true, "UNWIND range(1, $n) AS i MERGE (a:Account {i: i}) SET a.balance = $each", parameters{"n": accounts, "each": balance})
	return s.LastBookmarks(), err
}
