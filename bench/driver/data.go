package main

import "strconv"

// The sizes of the data set. The answers that workloads check depend on them.
const (
	pNodes    = 100000
	uNodes    = 20000
	fRels     = 200000
	bulkRows  = 200000
	streamLen = 1000000
	bulkBatch = 10000
	relBatch  = 5000
	hopStarts = 2000
)

// generator is Knuth's MMIX linear congruential generator: the same numbers on every machine.
type generator uint64

func (g *generator) below(n int) int {
	*g = *g*6364136223846793005 + 1442695040888963407
	return int((uint64(*g) >> 33) % uint64(n))
}

func pRow(i int) any {
	return parameters{"id": i, "v": "value-" + strconv.Itoa(i), "age": 18 + (i*7)%60, "score": float64((i*31)%1000) / 10}
}

func uRow(i int) any {
	return parameters{"id": i, "age": 18 + (i*7)%60, "score": float64((i*31)%1000) / 10, "name": "user" + strconv.Itoa(i)}
}

// relationshipRows returns the pairs in order, beginning anew at each call.
func relationshipRows() func(int) any {
	g := generator(42)
	return func(int) any {
		a := g.below(uNodes)
		return parameters{"a": a, "b": g.below(uNodes)}
	}
}

// adjacency is the same :F graph that the server is given, to know how many nodes three hops reach.
func adjacency() [][]int32 {
	out := make([][]int32, uNodes)
	g := generator(42)
	for i := 0; i < fRels; i++ {
		a := g.below(uNodes)
		out[a] = append(out[a], int32(g.below(uNodes)))
	}
	return out
}

func reachedWithin(out [][]int32, start, hops int) int64 {
	seen := map[int32]bool{}
	frontier := []int32{int32(start)}
	for ; hops > 0; hops-- {
		var next []int32
		for _, from := range frontier {
			for _, to := range out[from] {
				if !seen[to] {
					seen[to] = true
					next = append(next, to)
				}
			}
		}
		frontier = next
	}
	return int64(len(seen))
}
