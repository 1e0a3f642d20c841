// bench measures any Bolt server: through the official Go driver as users meet it, and through a thin client (names
// ending in _raw) that costs so little itself that it shows the server. One JSON line a workload and repetition.
//
//	bench -uri bolt://127.0.0.1:7687 -user admin -pass admin -pid 1234 -seconds 5 -repeat 3 [-only write1,point64]
//
// The data is the same on every run (one linear congruential generator), and answers are checked.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/config"
)

var options struct {
	uri, user, password, only, skip, pids string
	seconds, warmUp                       float64
	repeat                                int
	loaded                                bool
}

func parseOptions() {
	flag.StringVar(&options.uri, "uri", "bolt://127.0.0.1:7687", "the server; bolt://host:port")
	flag.StringVar(&options.user, "user", "", "user name; empty for a server without authentication")
	flag.StringVar(&options.password, "pass", "", "password")
	flag.StringVar(&options.pids, "pid", "", "process ids of the server, comma-separated, to measure their CPU time and memory")
	flag.Float64Var(&options.seconds, "seconds", 5, "seconds per timed workload and repetition")
	flag.Float64Var(&options.warmUp, "warm", 1, "seconds of warm-up before the first repetition of each")
	flag.IntVar(&options.repeat, "repeat", 3, "repetitions")
	flag.StringVar(&options.only, "only", "", "comma list of workloads; default all")
	flag.StringVar(&options.skip, "skip", "", "comma list of workloads to leave out")
	flag.BoolVar(&options.loaded, "loaded", false, "the data is there from an earlier run")
	flag.Parse()
}

func listed(list, name string) bool {
	for _, item := range strings.Split(list, ",") {
		if item == name {
			return true
		}
	}
	return false
}

func wanted(w workload) bool {
	return (listed(options.only, w.name) || (options.only == "" && !w.named)) && !listed(options.skip, w.name)
}

func connect() (neo4j.DriverWithContext, error) {
	auth := neo4j.NoAuth()
	if options.user != "" {
		auth = neo4j.BasicAuth(options.user, options.password, "")
	}
	driver, err := neo4j.NewDriverWithContext(options.uri, auth, func(c *config.Config) { c.MaxConnectionPoolSize = 300 })
	if err != nil {
		return nil, err
	}
	return driver, driver.VerifyConnectivity(context.Background())
}

func main() {
	parseOptions()
	driver, err := connect()
	if err == nil {
		err = run(driver)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(driver neo4j.DriverWithContext) error {
	b := newBench(driver)
	if !options.loaded {
		if err := b.load(); err != nil {
			return err
		}
	}
	for repetition := 0; repetition < options.repeat; repetition++ {
		for _, w := range b.workloads() {
			if !wanted(w) {
				continue
			}
			if err := w.run(b, w, repetition); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return driver.Close(context.Background())
}
