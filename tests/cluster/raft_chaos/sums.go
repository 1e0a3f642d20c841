package main

import (
	"fmt"
	"math/rand"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
)

const (
	accounts = 8
	balance  = 100
)

// bank: money moves between accounts; whoever looks, on whatever member, sees all of it.
type bank struct {
	mutex sync.Mutex
	looks int
	wrong []string
}

func newBank() workload { return &bank{} }

const (
	transfer = `MATCH (a:Account {i: $a}), (b:Account {i: $b}) SET a.lock = $n, b.lock = $n
WITH a, b WHERE a.balance >= $amount SET a.balance = a.balance - $amount, b.balance = b.balance + $amount`
	total = "MATCH (a:Account) RETURN sum(a.balance), count(a), min(a.balance)"
)

func (b *bank) look(rows []*neo4j.Record, err error, where string) {
	counted.add("bank "+where, err)
	if err != nil {
		return
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.looks++
	if v := rows[0].Values; v[0] != int64(accounts*balance) || v[1] != int64(accounts) || v[2].(int64) < 0 {
		b.wrong = append(b.wrong, fmt.Sprintf("%s: %v", where, v))
	}
}

func (b *bank) work(working *sync.WaitGroup, driver neo4j.DriverWithContext) {
	clients(working, driver, 3, 8*time.Millisecond, neo4j.AccessModeWrite, func(s neo4j.SessionWithContext, _ int, random *rand.Rand) error {
		from := random.Intn(accounts)
		to := (from + 1 + random.Intn(accounts-1)) % accounts
		_, err := managed(s, true, transfer, parameters{"a": from + 1, "b": to + 1, "amount": 1 + random.Intn(30), "n": random.Int63()})
		counted.add("bank transfer", err)
		return err
	})
	clients(working, driver, 1, 15*time.Millisecond, neo4j.AccessModeWrite, func(s neo4j.SessionWithContext, _ int, random *rand.Rand) error {
		rows, err := managed(s, true, total, nil)
		b.look(rows, err, "leader")
		return err
	})
	clients(working, driver, 2, 15*time.Millisecond, neo4j.AccessModeRead, func(s neo4j.SessionWithContext, _ int, random *rand.Rand) error {
		rows, err := managed(s, false, total, nil)
		b.look(rows, err, "reader")
		return err
	})
}

func (b *bank) check(driver neo4j.DriverWithContext) []verdict {
	for _, member := range members {
		d := direct(member)
		s := d.NewSession(ctx, neo4j.SessionConfig{AccessMode: neo4j.AccessModeRead, Bookmarks: begun})
		rows, err := managed(s, false, total, nil)
		b.look(rows, err, member)
		s.Close(ctx)
		d.Close(ctx)
	}
	return []verdict{{len(b.wrong) == 0 && b.looks > 0, fmt.Sprintf("bank: all money was there in %d looks %v", b.looks, firstOf(b.wrong))}}
}

func firstOf(all []string) []string {
	if len(all) > 5 {
		return all[:5]
	}
	return all
}

// set: numbers are added once each; in the end each that was acknowledged is there once, and none that was refused.
type set struct {
	mutex                 sync.Mutex
	acknowledged, refused map[int64]bool
	next                  atomic.Int64
}

func newSet() workload { return &set{acknowledged: map[int64]bool{}, refused: map[int64]bool{}} }

func (e *set) work(working *sync.WaitGroup, driver neo4j.DriverWithContext) {
	add := func(x int64, err error) {
		counted.add("set", err)
		e.mutex.Lock()
		defer e.mutex.Unlock()
		switch told(err) {
		case done:
			e.acknowledged[x] = true
		case nothing:
			e.refused[x] = true
		}
	}
	const text = "CREATE (:Elem {x: $x})"
	clients(working, driver, 3, 4*time.Millisecond, neo4j.AccessModeWrite, func(s neo4j.SessionWithContext, _ int, _ *rand.Rand) error {
		x := e.next.Add(1)
		_, err := managed(s, true, text, parameters{"x": x})
		add(x, err)
		return err
	})
	for _, member := range members {
		clients(working, direct(member), 1, 20*time.Millisecond, neo4j.AccessModeWrite, func(s neo4j.SessionWithContext, _ int, _ *rand.Rand) error {
			x := e.next.Add(1)
			_, err := once(s, text, parameters{"x": x})
			add(x, err)
			return err
		})
	}
}

func (e *set) check(driver neo4j.DriverWithContext) []verdict {
	var verdicts []verdict
	for _, member := range append([]string{""}, members...) {
		d, name := driver, "the leader"
		if member != "" {
			d, name = direct(member), member
		}
		s := d.NewSession(ctx, neo4j.SessionConfig{})
		rows, err := managed(s, member == "", "MATCH (n:Elem) RETURN n.x", nil)
		s.Close(ctx)
		if err != nil {
			verdicts = append(verdicts, verdict{false, fmt.Sprintf("set on %s: %v", name, err)})
			continue
		}
		times := map[int64]int{}
		for _, row := range rows {
			times[row.Values[0].(int64)]++
		}
		var lost, twice, undead []int64
		for x := range e.acknowledged {
			if times[x] == 0 {
				lost = append(lost, x)
			}
		}
		for x, n := range times {
			if n > 1 {
				twice = append(twice, x)
			}
			if e.refused[x] {
				undead = append(undead, x)
			}
		}
		for _, list := range [][]int64{lost, twice, undead} {
			sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
		}
		verdicts = append(verdicts, verdict{len(lost)+len(twice)+len(undead) == 0, fmt.Sprintf(
			"set on %s: %d acknowledged, %d refused, %d there; lost %v, twice %v, refused and there %v", name,
			len(e.acknowledged), len(e.refused), len(times), lost, twice, undead)})
	}
	return verdicts
}

// sessions: whoever goes on with a session's bookmarks sees what it did and what it saw, wherever the driver sends it.
type sessions struct {
	mutex  sync.Mutex
	looks  int
	behind []string
}

func newSessions() workload { return &sessions{} }

func (o *sessions) work(working *sync.WaitGroup, driver neo4j.DriverWithContext) {
	clients(working, driver, 2, 10*time.Millisecond, neo4j.AccessModeWrite, func(_ neo4j.SessionWithContext, client int, random *rand.Rand) error {
		s := driver.NewSession(ctx, neo4j.SessionConfig{})
		defer s.Close(ctx)
		seen := int64(0)
		for i := 0; i < 50 && !stopped.Load(); i++ {
			if random.Intn(2) == 0 {
				rows, err := managed(s, true, "MERGE (o:Own {c: $c}) SET o.lock = 1 SET o.n = coalesce(o.n, 0) + 1 RETURN o.n", parameters{"c": client})
				counted.add("session write", err)
				if err == nil {
					seen = rows[0].Values[0].(int64)
				}
			}
			rows, err := managed(s, false, "MATCH (o:Own {c: $c}) RETURN o.n", parameters{"c": client})
			counted.add("session read", err)
			if err == nil {
				got := int64(0)
				if len(rows) == 1 {
					got = rows[0].Values[0].(int64)
				}
				o.mutex.Lock()
				o.looks++
				if got < seen {
					o.behind = append(o.behind, fmt.Sprintf("client %d saw %d after %d", client, got, seen))
				}
				o.mutex.Unlock()
				seen = got
			}
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	})
}

func (o *sessions) check(neo4j.DriverWithContext) []verdict {
	return []verdict{{len(o.behind) == 0 && o.looks > 0, fmt.Sprintf("sessions: %d reads, none behind what was seen %v", o.looks, firstOf(o.behind))}}
}
