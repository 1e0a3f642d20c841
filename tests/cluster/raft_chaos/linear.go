package main

import (
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
)

const (
	keySeconds   = 2 // How long clients stay with a set of keys: a history of a key stays short enough to check.
	keysAtOnce   = 3
	checkSeconds = 60
)

// operation is the input of all histories.
type operation struct {
	key      string
	kind     string // read, write, swap, append
	value    int64
	expected int64
}

// history is what clients asked for and were told.
type history struct {
	mutex      sync.Mutex
	operations []porcupine.Operation
	next       atomic.Int64
}

func (h *history) add(client int, in operation, began int64, out any, err error) {
	took := porcupine.Operation{ClientId: client, Input: in, Call: began, Output: out, Return: now()}
	switch told(err) {
	case nothing:
		return
	case unknown:
		if in.kind == "read" {
			return
		}
		took.Output, took.Return = nil, math.MaxInt64 // Perhaps later, perhaps never.
	}
	h.mutex.Lock()
	h.operations = append(h.operations, took)
	h.mutex.Unlock()
}

func (h *history) key(random *rand.Rand) string {
	return strconv.FormatInt(now()/int64(keySeconds*time.Second), 10) + "." + strconv.Itoa(random.Intn(keysAtOnce))
}

func (h *history) check(model porcupine.Model, name string) verdict {
	model.Partition = func(all []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range all {
			key := o.Input.(operation).key
			byKey[key] = append(byKey[key], o)
		}
		out := make([][]porcupine.Operation, 0, len(byKey))
		for _, operations := range byKey {
			out = append(out, operations)
		}
		return out
	}
	open := 0
	for _, o := range h.operations {
		if o.Return == math.MaxInt64 {
			open++
		}
	}
	what := fmt.Sprintf("%s: %d operations, %d of unknown outcome, are linearizable", name, len(h.operations), open)
	result, info := porcupine.CheckOperationsVerbose(model, h.operations, checkSeconds*time.Second)
	if result == porcupine.Ok {
		return verdict{true, what}
	}
	picture := filepath.Join(options.pictures, "chaos-"+name+".html")
	if file, err := os.Create(picture); err == nil {
		_ = porcupine.Visualize(model, info, file)
		file.Close()
	}
	return verdict{false, fmt.Sprintf("%s: %s; see %s", what, result, picture)}
}

// registers: reads, writes and compare-and-swap, through the routed driver and on each member by itself.
type registers struct {
	history
	lock sync.Mutex
	seen map[int]*int64
}

func newRegisters() workload { return &registers{seen: map[int]*int64{}} }

// seenBy is the last value that a client read, a good guess for what is there.
func (r *registers) seenBy(client int) *int64 {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.seen[client] == nil {
		r.seen[client] = new(int64)
	}
	return r.seen[client]
}

const (
	readRegister  = "MATCH (r:Reg {k: $k}) RETURN r.v"
	writeRegister = "MERGE (r:Reg {k: $k}) SET r.v = $v"
	// The lock first, so that what is compared is what is swapped.
	swapRegister = "MATCH (r:Reg {k: $k}) SET r.lock = $v WITH r WHERE r.v = $e SET r.v = $v RETURN r.v"
)

type runner func(text string, p parameters) ([]*neo4j.Record, error)

func (r *registers) one(client int, random *rand.Rand, seen *int64, kind string, write, read runner) error {
	in := operation{key: r.key(random), value: r.next.Add(1), expected: *seen}
	p := parameters{"k": in.key, "v": in.value, "e": in.expected}
	var out any
	var err error
	var rows []*neo4j.Record
	dice := random.Intn(10)
	began := now()
	switch {
	case dice < 5:
		in.kind = "read"
		if rows, err = read(readRegister, p); err == nil {
			value := int64(0)
			if len(rows) == 1 {
				value = rows[0].Values[0].(int64)
			}
			*seen, out = value, value
		}
	case dice < 8:
		in.kind = "write"
		_, err = write(writeRegister, p)
	default:
		in.kind = "swap"
		rows, err = write(swapRegister, p)
		out = len(rows) == 1
	}
	counted.add(kind+" "+in.kind, err)
	r.add(client, in, began, out, err)
	return err
}

func (r *registers) work(working *sync.WaitGroup, driver neo4j.DriverWithContext) {
	clients(working, driver, 3, 4*time.Millisecond, neo4j.AccessModeWrite, func(s neo4j.SessionWithContext, client int, random *rand.Rand) error {
		run := func(text string, p parameters) ([]*neo4j.Record, error) { return managed(s, true, text, p) }
		return r.one(client, random, r.seenBy(client), "register", run, run)
	})
	// By itself: a follower refuses writes and asks the leader before it reads; a deposed leader must do neither.
	for _, member := range members {
		clients(working, direct(member), 1, 8*time.Millisecond, neo4j.AccessModeWrite, func(s neo4j.SessionWithContext, client int, random *rand.Rand) error {
			run := func(text string, p parameters) ([]*neo4j.Record, error) { return once(s, text, p) }
			return r.one(client, random, r.seenBy(client), "direct register", run, run)
		})
	}
}

// bare leaves out what makes checking hard and says little: swaps that found another value, and writes of unknown outcome
// whose value nobody ever saw. Values are written once each, so without the former the latter may as well not have happened.
func (r *registers) bare() {
	seen := map[int64]bool{}
	for _, o := range r.operations {
		in := o.Input.(operation)
		if in.kind == "read" {
			seen[o.Output.(int64)] = true
		} else if in.kind == "swap" && o.Output == true {
			seen[in.expected] = true
		}
	}
	kept := r.operations[:0]
	for _, o := range r.operations {
		in := o.Input.(operation)
		if (in.kind == "swap" && o.Output == false) || (o.Return == math.MaxInt64 && !seen[in.value]) {
			continue
		}
		kept = append(kept, o)
	}
	r.operations = kept
}

func (r *registers) check(neo4j.DriverWithContext) []verdict {
	r.bare()
	return []verdict{r.history.check(porcupine.Model{
		Init: func() any { return int64(0) },
		Step: func(state, input, output any) (bool, any) {
			in, value := input.(operation), state.(int64)
			switch in.kind {
			case "read":
				return output.(int64) == value, state
			case "write":
				return true, in.value
			}
			if output == nil { // Unknown: whatever it would have done.
				if value == in.expected && value != 0 {
					return true, in.value
				}
				return true, state
			}
			if value == in.expected && value != 0 {
				return output.(bool), in.value
			}
			return !output.(bool), state
		},
		DescribeOperation: describe,
	}, "registers")}
}

// lists: each append answers with the whole list, so its place in the order is known.
type lists struct{ history }

func newLists() workload { return &lists{} }

const (
	appendList = "MERGE (n:List {k: $k}) SET n.lock = $v SET n.l = coalesce(n.l, []) + $v RETURN n.l"
	readList   = "MATCH (n:List {k: $k}) RETURN n.l"
)

func (l *lists) work(working *sync.WaitGroup, driver neo4j.DriverWithContext) {
	clients(working, driver, 3, 6*time.Millisecond, neo4j.AccessModeWrite, func(s neo4j.SessionWithContext, client int, random *rand.Rand) error {
		in := operation{key: l.key(random), value: l.next.Add(1), kind: "append"}
		text := appendList
		if random.Intn(3) == 0 {
			in.kind, text = "read", readList
		}
		began := now()
		rows, err := managed(s, true, text, parameters{"k": in.key, "v": in.value})
		list := ""
		if len(rows) == 1 {
			for _, value := range rows[0].Values[0].([]any) {
				list += " " + strconv.FormatInt(value.(int64), 10)
			}
		}
		counted.add("list "+in.kind, err)
		l.add(client, in, began, list, err)
		return err
	})
}

func (l *lists) check(neo4j.DriverWithContext) []verdict {
	return []verdict{l.history.check(porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			in, list := input.(operation), state.(string)
			if in.kind == "read" {
				return output.(string) == list, state
			}
			list += " " + strconv.FormatInt(in.value, 10)
			return output == nil || output.(string) == list, list
		},
		DescribeOperation: describe,
	}, "lists")}
}

func describe(input, output any) string {
	in := input.(operation)
	switch in.kind {
	case "read":
		return fmt.Sprintf("%v", output)
	case "swap":
		return fmt.Sprintf("%d→%d: %v", in.expected, in.value, output)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %d", in.kind, in.value))
}
