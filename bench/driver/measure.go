package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// serverUse is what the server's processes have used so far.
type serverUse struct {
	cpuMicros, writtenBytes, residentKiB int64
}

// processMicros is the CPU time of a process, all its threads, to the nanosecond where /proc counts ticks of 10 ms: the clock
// that clock_getcpuclockid(3) names.
func processMicros(pid int) int64 {
	var used syscall.Timespec
	const allThreads = 2
	clock := uintptr(uint32(^pid)<<3 | allThreads)
	if _, _, failed := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&used)), 0); failed != 0 {
		return 0
	}
	return used.Nano() / 1000
}

func readServerUse() (use serverUse) {
	for _, pid := range strings.Split(options.pids, ",") {
		if pid == "" {
			continue
		}
		folder := "/proc/" + pid + "/"
		if number, err := strconv.Atoi(pid); err == nil {
			use.cpuMicros += processMicros(number)
		}
		use.writtenBytes += procNumber(folder+"io", "write_bytes:")
		use.residentKiB += procNumber(folder+"status", "VmRSS:")
	}
	return
}

func procNumber(path, name string) int64 {
	text, _ := os.ReadFile(path)
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == name {
			number, _ := strconv.ParseInt(fields[1], 10, 64)
			return number
		}
	}
	return 0
}

// measurement is one JSON line.
type measurement struct {
	Workload    string         `json:"workload"`
	Repetition  int            `json:"repetition"`
	Clients     int            `json:"clients"`
	Unit        string         `json:"unit"`
	Done        int64          `json:"done"`
	Seconds     float64        `json:"seconds"`
	PerSecond   float64        `json:"per_second"`
	P50Millis   float64        `json:"p50_ms"`
	P99Millis   float64        `json:"p99_ms"`
	MaxMillis   float64        `json:"max_ms"`
	ServerCPU   float64        `json:"server_cpu_us"`
	WrittenSize float64        `json:"server_written_bytes"`
	ResidentMiB int64          `json:"server_resident_mib"`
	Wrong       int64          `json:"wrong"`
	Errors      map[string]int `json:"errors,omitempty"`
}

// tally collects what one client, or all of them, did.
type tally struct {
	units     int64
	wrong     int64
	latencies []time.Duration
	errors    map[string]int
}

func (t *tally) fail(err error) {
	if t.errors == nil {
		t.errors = map[string]int{}
	}
	text := err.Error()
	if len(text) > 160 {
		text = text[:160]
	}
	t.errors[text]++
}

func (t *tally) add(other tally) {
	t.units += other.units
	t.wrong += other.wrong
	t.latencies = append(t.latencies, other.latencies...)
	for text, count := range other.errors {
		if t.errors == nil {
			t.errors = map[string]int{}
		}
		t.errors[text] += count
	}
}

// report prints what happened between two looks at the server.
func report(w workload, repetition int, t tally, took time.Duration, before, after serverUse) {
	sort.Slice(t.latencies, func(i, j int) bool { return t.latencies[i] < t.latencies[j] })
	quantile := func(q float64) float64 {
		if len(t.latencies) == 0 {
			return 0
		}
		at := int(q * float64(len(t.latencies)))
		if at >= len(t.latencies) {
			at = len(t.latencies) - 1
		}
		return t.latencies[at].Seconds() * 1e3
	}
	m := measurement{Workload: w.name, Repetition: repetition, Clients: w.clients, Unit: w.unit, Done: t.units,
		Seconds: took.Seconds(), PerSecond: float64(t.units) / took.Seconds(), P50Millis: quantile(0.5), P99Millis: quantile(0.99),
		MaxMillis: quantile(1), ResidentMiB: after.residentKiB / 1024, Wrong: t.wrong, Errors: t.errors}
	if t.units > 0 {
		m.ServerCPU = float64(after.cpuMicros-before.cpuMicros) / float64(t.units)
		m.WrittenSize = float64(after.writtenBytes-before.writtenBytes) / float64(t.units)
	}
	line, _ := json.Marshal(m)
	fmt.Println(string(line))
}

// client does one operation; it says whether the answer was right.
type client interface {
	do(g *generator) (right bool, err error)
	close()
}

// closedLoop lets w.clients clients work for a while, each as fast as its answers come.
func closedLoop(w workload, repetition int, seconds float64, open func() (client, error)) (tally, time.Duration, error) {
	clients := make([]client, w.clients)
	for i := range clients {
		var err error
		if clients[i], err = open(); err != nil {
			return tally{}, 0, err
		}
		defer clients[i].close()
	}
	tallies := make([]tally, w.clients)
	start := time.Now()
	end := start.Add(time.Duration(seconds * float64(time.Second)))
	var working sync.WaitGroup
	for i := range clients {
		working.Add(1)
		go func(i int) {
			defer working.Done()
			// A seed of its own for each client and repetition.
			g := generator(uint64(i)*7919 + uint64(repetition)*104729 + 1)
			t := &tallies[i]
			for began := time.Now(); began.Before(end); {
				right, err := clients[i].do(&g)
				finished := time.Now()
				if err != nil {
					if t.fail(err); len(t.errors) > 50 {
						return
					}
				} else {
					t.units++
					t.latencies = append(t.latencies, finished.Sub(began))
					if !right {
						t.wrong++
					}
				}
				began = finished
			}
		}(i)
	}
	working.Wait()
	took := time.Since(start)
	var all tally
	for _, t := range tallies {
		all.add(t)
	}
	return all, took, nil
}

// timed warms up before the first repetition, then measures a closed loop. finish, if any, looks at the outcome.
func timed(w workload, repetition int, open func() (client, error), finish func(t *tally) error) error {
	if repetition == 0 && options.warmUp > 0 {
		if _, _, err := closedLoop(w, repetition+1000, options.warmUp, open); err != nil {
			return err
		}
	}
	before := readServerUse()
	t, took, err := closedLoop(w, repetition, options.seconds, open)
	if err != nil {
		return err
	}
	after := readServerUse()
	if finish != nil {
		if err := finish(&t); err != nil {
			return err
		}
	}
	report(w, repetition, t, took, before, after)
	return nil
}
