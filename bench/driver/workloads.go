package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
)

type parameters = map[string]any

var ctx = context.Background()

const (
	pointQuery  = "MATCH (p:P {id:$id}) RETURN p.v"
	createQuery = "CREATE (:W {id:$id, v:$v})"
	createValue = "some value"
)

type workload struct {
	name    string
	clients int
	unit    string
	run     func(b *bench, w workload, repetition int) error
	named   bool // Only if it is asked for.
}

type bench struct {
	driver  neo4j.DriverWithContext
	nextID  int64 // Of the nodes that writing workloads create; unique across runs.
	starts  []int // hop3 begins at these...
	reached []int64
}

func newBench(driver neo4j.DriverWithContext) *bench {
	return &bench{driver: driver, nextID: time.Now().UnixMilli() * 1000}
}

func (b *bench) workloads() []workload {
	return []workload{
		{"point1", 1, "operations", point, false},
		{"point64", 64, "operations", point, false},
		{"point1_raw", 1, "operations", pointRaw, false},
		{"point64_raw", 64, "operations", pointRaw, false},
		{"hop3", 1, "operations", threeHops, false},
		{"agg20k", 1, "operations", aggregate("U", uNodes), false},
		{"agg100k", 1, "operations", aggregate("P", pNodes), false},
		{"stream", 1, "rows", stream, false},
		{"stream_raw", 1, "rows", streamRaw, false},
		{"upd", 16, "operations", counter, false},
		{"write1", 1, "operations", write, false},
		{"write64", 64, "operations", write, false},
		{"write1_raw", 1, "operations", writeRaw, false},
		{"write64_raw", 64, "operations", writeRaw, false},
		{"bulk", 1, "rows", bulk, false},
		{"rels", 1, "rows", relationships, false},
		{"write256_raw", 256, "operations", writeRaw, true},
		{"causal64_raw", 64, "operations", causalRaw, true},
	}
}

// query is one autocommit statement of a driver session; check looks at its rows.
type query struct {
	session neo4j.SessionWithContext
	next    func(g *generator) (string, parameters, func(rows []*neo4j.Record) bool)
}

func (q *query) do(g *generator) (bool, error) {
	text, p, check := q.next(g)
	rows, err := collect(q.session, text, p)
	return err == nil && (check == nil || check(rows)), err
}

func (q *query) close() { _ = q.session.Close(ctx) }

func collect(s neo4j.SessionWithContext, text string, p parameters) ([]*neo4j.Record, error) {
	result, err := s.Run(ctx, text, p)
	if err != nil {
		return nil, err
	}
	return result.Collect(ctx)
}

func (b *bench) session() neo4j.SessionWithContext {
	return b.driver.NewSession(ctx, neo4j.SessionConfig{})
}

func (b *bench) execute(text string, p parameters) ([]*neo4j.Record, error) {
	s := b.session()
	defer s.Close(ctx)
	return collect(s, text, p)
}

func (b *bench) timedQueries(w workload, repetition int, finish func(*tally) error,
	next func(g *generator) (string, parameters, func([]*neo4j.Record) bool)) error {
	return timed(w, repetition, func() (client, error) { return &query{b.session(), next}, nil }, finish)
}

func point(b *bench, w workload, repetition int) error {
	return b.timedQueries(w, repetition, nil, func(g *generator) (string, parameters, func([]*neo4j.Record) bool) {
		id := g.below(pNodes)
		return pointQuery, parameters{"id": id}, func(rows []*neo4j.Record) bool {
			return len(rows) == 1 && rows[0].Values[0] == "value-"+strconv.Itoa(id)
		}
	})
}

func threeHops(b *bench, w workload, repetition int) error {
	if b.starts == nil { // The right answers, worked out beforehand so that checking costs nothing while timed.
		out, g := adjacency(), generator(7)
		for i := 0; i < hopStarts; i++ {
			start := g.below(uNodes)
			b.starts = append(b.starts, start)
			b.reached = append(b.reached, reachedWithin(out, start, 3))
		}
	}
	return b.timedQueries(w, repetition, nil, func(g *generator) (string, parameters, func([]*neo4j.Record) bool) {
		k := g.below(hopStarts)
		return "MATCH (u:U {id:$id})-[:F*1..3]->(x) RETURN count(DISTINCT x)", parameters{"id": b.starts[k]},
			func(rows []*neo4j.Record) bool { return len(rows) == 1 && rows[0].Values[0] == b.reached[k] }
	})
}

func aggregate(label string, nodes int64) func(*bench, workload, int) error {
	text := "MATCH (u:" + label + ") RETURN u.age, count(*), avg(u.score) ORDER BY u.age"
	check := func(rows []*neo4j.Record) bool {
		total, last := int64(0), int64(-1)
		for _, row := range rows {
			age, ok := row.Values[0].(int64)
			if !ok || age <= last {
				return false
			}
			last = age
			total += row.Values[1].(int64)
		}
		return total == nodes
	}
	return func(b *bench, w workload, repetition int) error {
		return b.timedQueries(w, repetition, nil, func(*generator) (string, parameters, func([]*neo4j.Record) bool) {
			return text, nil, check
		})
	}
}

func write(b *bench, w workload, repetition int) error {
	return b.timedQueries(w, repetition, nil, func(*generator) (string, parameters, func([]*neo4j.Record) bool) {
		return createQuery, parameters{"id": atomic.AddInt64(&b.nextID, 1), "v": createValue}, nil
	})
}

// counter counts a lost update as a wrong answer.
func counter(b *bench, w workload, repetition int) error {
	if repetition == 0 && options.warmUp > 0 {
		_, _, err := closedLoop(w, 1000, options.warmUp, func() (client, error) { return b.increments(), nil })
		if err != nil {
			return err
		}
	}
	value := func() (int64, error) {
		rows, err := b.execute("MATCH (c:C {id:0}) RETURN c.n", nil)
		if err != nil || len(rows) != 1 {
			return 0, fmt.Errorf("reading the counter: %d rows, %w", len(rows), err)
		}
		return rows[0].Values[0].(int64), nil
	}
	start, err := value()
	if err != nil {
		return err
	}
	before := readServerUse()
	t, took, err := closedLoop(w, repetition, options.seconds, func() (client, error) { return b.increments(), nil })
	if err != nil {
		return err
	}
	after := readServerUse()
	end, err := value()
	t.wrong = t.units - (end - start)
	report(w, repetition, t, took, before, after)
	return err
}

func (b *bench) increments() client {
	return &query{b.session(), func(*generator) (string, parameters, func([]*neo4j.Record) bool) {
		return "MATCH (c:C {id:0}) SET c.n=c.n+1", nil, nil
	}}
}

func stream(b *bench, w workload, repetition int) error {
	s := b.session()
	defer s.Close(ctx)
	before, start := readServerUse(), time.Now()
	result, err := s.Run(ctx, fmt.Sprintf("UNWIND range(1,%d) AS i RETURN i", streamLen), nil)
	if err != nil {
		return err
	}
	var t tally
	sum := int64(0)
	for result.Next(ctx) {
		t.units++
		sum += result.Record().Values[0].(int64)
	}
	took := time.Since(start)
	if err := result.Err(); err != nil {
		t.fail(err)
	}
	if sum != streamLen*(streamLen+1)/2 {
		t.wrong++
	}
	t.latencies = append(t.latencies, took)
	report(w, repetition, t, took, before, readServerUse())
	return nil
}

// batches sends rows(0), rows(1), … in lists of one batch each.
func (b *bench) batches(w workload, repetition, total, size int, text string, row func(int) any) error {
	s := b.session()
	defer s.Close(ctx)
	var t tally
	before, start := readServerUse(), time.Now()
	for at := 0; at < total; at += size {
		rows := make([]any, 0, size)
		for i := at; i < at+size && i < total; i++ {
			rows = append(rows, row(i))
		}
		began := time.Now()
		if _, err := collect(s, text, parameters{"rows": rows}); err != nil {
			t.fail(err)
			continue
		}
		t.latencies = append(t.latencies, time.Since(began))
		t.units += int64(len(rows))
	}
	report(w, repetition, t, time.Since(start), before, readServerUse())
	if len(t.errors) > 0 {
		return fmt.Errorf("%v", t.errors)
	}
	return nil
}

func bulk(b *bench, w workload, repetition int) error {
	base := int(time.Now().UnixMilli()) * 1000
	return b.batches(w, repetition, bulkRows, bulkBatch, "UNWIND $rows AS r CREATE (:B {id:r.id, name:r.name, x:r.x})",
		func(i int) any {
			return parameters{"id": base + i, "name": "name" + strconv.Itoa(i), "x": float64(i) / 3}
		})
}

// relationships makes a node set of its own each time, and times only the relationships between them.
func relationships(b *bench, w workload, repetition int) error {
	label := "V" + strconv.FormatInt(time.Now().UnixMilli()%1e9, 10)
	if err := b.index(label); err != nil {
		return err
	}
	for at := 0; at < uNodes; at += relBatch {
		rows := make([]any, 0, relBatch)
		for i := at; i < at+relBatch; i++ {
			rows = append(rows, uRow(i))
		}
		text := "UNWIND $rows AS r CREATE (:" + label + " {id:r.id, age:r.age, score:r.score, name:r.name})"
		if _, err := b.execute(text, parameters{"rows": rows}); err != nil {
			return err
		}
	}
	return b.batches(w, repetition, fRels, relBatch,
		"UNWIND $rows AS r MATCH (a:"+label+" {id:r.a}),(b:"+label+" {id:r.b}) CREATE (a)-[:F]->(b)", relationshipRows())
}

func (b *bench) index(label string) error {
	if _, err := b.execute("CREATE INDEX IF NOT EXISTS FOR (n:"+label+") ON (n.id)", nil); err != nil {
		return err
	}
	_, err := b.execute("CALL db.awaitIndexes(300)", nil)
	return err
}

// load fills an empty database and checks what arrived.
func (b *bench) load() error {
	for _, label := range []string{"P", "U", "C", "W"} {
		if err := b.index(label); err != nil {
			return err
		}
	}
	one := func(name string) workload { return workload{name: name, clients: 1, unit: "rows"} }
	if err := b.batches(one("load_p"), 0, pNodes, bulkBatch,
		"UNWIND $rows AS r CREATE (:P {id:r.id, v:r.v, age:r.age, score:r.score})", pRow); err != nil {
		return err
	}
	if err := b.batches(one("load_u"), 0, uNodes, relBatch,
		"UNWIND $rows AS r CREATE (:U {id:r.id, age:r.age, score:r.score, name:r.name})", uRow); err != nil {
		return err
	}
	if err := b.batches(one("load_f"), 0, fRels, relBatch,
		"UNWIND $rows AS r MATCH (a:U {id:r.a}),(b:U {id:r.b}) CREATE (a)-[:F]->(b)", relationshipRows()); err != nil {
		return err
	}
	if _, err := b.execute("CREATE (:C {id:0, n:0})", nil); err != nil {
		return err
	}
	for text, want := range map[string]int64{"MATCH (n:P) RETURN count(n)": pNodes, "MATCH (n:U) RETURN count(n)": uNodes,
		"MATCH ()-[r:F]->() RETURN count(r)": fRels} {
		rows, err := b.execute(text, nil)
		if err != nil {
			return err
		}
		if got := rows[0].Values[0]; got != want {
			return fmt.Errorf("after loading, %s is %v, not %d; is the database empty at the start?", text, got, want)
		}
	}
	return nil
}
