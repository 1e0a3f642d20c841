// The official Go driver against a running server. Reads NORNICDB_URI, _USER, _PASSWORD and, to watch the server's
// memory, NORNICDB_PID. Written for Go 1.18 and later.
package drivers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // A minimal system has no zone files.

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/config"
)

const lostMemoryBytes = 64 << 20

type parameters = map[string]any

var (
	ctx    = context.Background()
	uri    = os.Getenv("NORNICDB_URI")
	auth   = neo4j.BasicAuth(setting("NORNICDB_USER"), setting("NORNICDB_PASSWORD"), "")
	driver neo4j.DriverWithContext
)

func setting(name string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return "admin"
}

func connect(uri string, auth neo4j.AuthToken) neo4j.DriverWithContext {
	driver, err := neo4j.NewDriverWithContext(uri, auth, func(c *config.Config) {
		c.MaxConnectionPoolSize = 600
		c.ConnectionAcquisitionTimeout = 2 * time.Minute
	})
	if err != nil {
		panic(err)
	}
	return driver
}

func TestMain(m *testing.M) {
	driver = connect(uri, auth)
	status := m.Run()
	_ = driver.Close(ctx)
	os.Exit(status)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %#v, want %#v", got, want)
	}
}

func session(t *testing.T, configs ...neo4j.SessionConfig) neo4j.SessionWithContext {
	config := neo4j.SessionConfig{}
	if len(configs) > 0 {
		config = configs[0]
	}
	s := driver.NewSession(ctx, config)
	t.Cleanup(func() { _ = s.Close(ctx) })
	return s
}

func consume(result neo4j.ResultWithContext, err error) (neo4j.ResultSummary, error) {
	if err != nil {
		return nil, err
	}
	return result.Consume(ctx)
}

func run(t *testing.T, query string, p parameters) neo4j.ResultSummary {
	t.Helper()
	summary, err := consume(session(t).Run(ctx, query, p))
	ok(t, err)
	return summary
}

func single(t *testing.T, query string, p parameters) *neo4j.Record {
	t.Helper()
	result, err := session(t).Run(ctx, query, p)
	ok(t, err)
	record, err := result.Single(ctx)
	ok(t, err)
	return record
}

func one(t *testing.T, query string, p parameters) any {
	t.Helper()
	return single(t, query, p).Values[0]
}

func echoes(t *testing.T, value any) {
	t.Helper()
	equal(t, one(t, "RETURN $x AS x", parameters{"x": value}), value)
}

func stores(t *testing.T, value any) {
	t.Helper()
	echoes(t, value)
	run(t, "CREATE (:GoStored {x: $x})", parameters{"x": value})
	record := single(t, "MATCH (n:GoStored) RETURN n.x, n", nil)
	run(t, "MATCH (n:GoStored) DELETE n", nil)
	equal(t, record.Values[0], value)
	equal(t, record.Values[1].(neo4j.Node).Props["x"], value)
}

func code(err error) string {
	var server *neo4j.Neo4jError
	if errors.As(err, &server) {
		return server.Code
	}
	return fmt.Sprint(err)
}

func residentBytes(t *testing.T) int {
	text, err := os.ReadFile("/proc/" + os.Getenv("NORNICDB_PID") + "/status")
	ok(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, err := strconv.Atoi(fields[1])
			ok(t, err)
			return kib * 1024
		}
	}
	return 0
}

func TestNullAndBooleans(t *testing.T) {
	echoes(t, nil)
	stores(t, true)
	stores(t, false)
}

func TestIntegersAtEveryWidthAndEdge(t *testing.T) {
	for _, bits := range []uint{4, 7, 8, 15, 16, 31, 32, 53, 62} {
		edge := int64(1) << bits
		for _, value := range []int64{edge - 1, edge, -edge, -edge - 1} {
			echoes(t, value)
		}
	}
	stores(t, int64(math.MaxInt64))
	stores(t, int64(math.MinInt64))
	stores(t, int64(0))
}

func TestFloats(t *testing.T) {
	for _, value := range []float64{0, 1, 1.5, -2.25, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1)} {
		stores(t, value)
	}
	if got := one(t, "RETURN $x AS x", parameters{"x": math.NaN()}).(float64); !math.IsNaN(got) {
		t.Fatal(got)
	}
}

func TestStrings(t *testing.T) {
	for _, value := range []string{"", "a", strings.Repeat("x", 15), strings.Repeat("x", 16), strings.Repeat("x", 255),
		strings.Repeat("x", 256), "žluťoučký kůň", "日本語", "🙂👩‍👩‍👧", "a\x00b", "'\"\\`\n\t", strings.Repeat("ü", 35000)} {
		stores(t, value)
	}
}

func TestBytes(t *testing.T) {
	for _, length := range []int{1, 255, 256, 70000} {
		value := make([]byte, length)
		for i := range value {
			value[i] = byte(i * 7)
		}
		echoes(t, value)
	}
}

func TestListsMapsAndNesting(t *testing.T) {
	stores(t, []any{int64(1), int64(2)})
	stores(t, []any{"a", "b"})
	stores(t, []any{1.5, 2.5})
	long := make([]any, 70000)
	for i := range long {
		long[i] = int64(i)
	}
	echoes(t, long)
	echoes(t, []any{})
	echoes(t, parameters{})
	echoes(t, parameters{"a": []any{parameters{"b": []any{nil, true, []any{1.5, parameters{"ü": "x"}}}}}})
	wide := parameters{}
	for i := 0; i < 300; i++ {
		wide["k"+strconv.Itoa(i)] = int64(i)
	}
	echoes(t, wide)
}

func TestTemporalValues(t *testing.T) {
	moment := time.Date(2024, 7, 14, 1, 2, 3, 456789012, time.UTC)
	for _, value := range []any{neo4j.DateOf(moment), neo4j.LocalTimeOf(moment), neo4j.LocalDateTimeOf(moment),
		neo4j.DurationOf(14, 3, 5, 6), neo4j.DurationOf(-1, 40, -1, 5)} {
		stores(t, value)
	}
	offset := time.FixedZone("Offset", 5*3600+1800)
	got := one(t, "RETURN $x AS x", parameters{"x": neo4j.OffsetTimeOf(moment.In(offset))}).(neo4j.Time)
	if !time.Time(got).Equal(time.Time(neo4j.OffsetTimeOf(moment.In(offset)))) {
		t.Fatal(got)
	}
	zone, err := time.LoadLocation("Europe/Stockholm")
	ok(t, err)
	for _, want := range []time.Time{moment.In(offset), moment.In(zone)} {
		got := one(t, "RETURN $x AS x", parameters{"x": want}).(time.Time)
		equal(t, got.Format(time.RFC3339Nano), want.Format(time.RFC3339Nano))
	}
	got2 := one(t, "RETURN datetime('2024-07-14T01:02:03[Europe/Stockholm]') AS x", nil).(time.Time)
	equal(t, got2.Location().String(), "Europe/Stockholm")
	equal(t, got2.Format(time.RFC3339), "2024-07-14T01:02:03+02:00")
}

func TestPoints(t *testing.T) {
	stores(t, neo4j.Point2D{X: 1.5, Y: -2.5, SpatialRefId: 7203})
	stores(t, neo4j.Point2D{X: 12.5, Y: 55.7, SpatialRefId: 4326})
	stores(t, neo4j.Point3D{X: 1.5, Y: 2.5, Z: 3.5, SpatialRefId: 9157})
	stores(t, neo4j.Point3D{X: 12.5, Y: 55.7, Z: 8.5, SpatialRefId: 4979})
}

func TestNodesRelationshipsAndPaths(t *testing.T) {
	record := single(t, "CREATE p = (a:GoA:GoB {name: 'a'})-[r:GO_KNOWS {since: 2020}]->(b:GoC) RETURN a, r, p", nil)
	node, relationship, path := record.Values[0].(neo4j.Node), record.Values[1].(neo4j.Relationship), record.Values[2].(neo4j.Path)
	equal(t, len(node.Labels), 2)
	equal(t, node.Props, parameters{"name": "a"})
	equal(t, relationship.Type, "GO_KNOWS")
	equal(t, relationship.StartElementId, node.ElementId)
	equal(t, relationship.Props, parameters{"since": int64(2020)})
	equal(t, len(path.Nodes), 2)
	equal(t, path.Relationships[0].ElementId, relationship.ElementId)
	equal(t, one(t, "MATCH (n) WHERE elementId(n) = $id RETURN n.name", parameters{"id": node.ElementId}), "a")
	run(t, "MATCH (n:GoA)-->(m) DETACH DELETE n, m", nil)
}

func countT(t *testing.T) int64 {
	t.Helper()
	return one(t, "MATCH (n:GoT) RETURN count(n)", nil).(int64)
}

func clearT(t *testing.T) { run(t, "MATCH (n:GoT) DETACH DELETE n", nil) }

func TestCommitMakesVisibleAndRollbackDoesNot(t *testing.T) {
	clearT(t)
	s := session(t)
	tx, err := s.BeginTransaction(ctx)
	ok(t, err)
	_, err = consume(tx.Run(ctx, "CREATE (:GoT)", nil))
	ok(t, err)
	equal(t, countT(t), int64(0))
	ok(t, tx.Commit(ctx))
	equal(t, countT(t), int64(1))
	tx, err = s.BeginTransaction(ctx)
	ok(t, err)
	_, err = consume(tx.Run(ctx, "CREATE (:GoT)", nil))
	ok(t, err)
	ok(t, tx.Rollback(ctx))
	equal(t, countT(t), int64(1))
}

func TestManagedFunctionsRunAgainAfterATransientError(t *testing.T) {
	clearT(t)
	tries := 0
	s := session(t)
	_, err := s.ExecuteWrite(ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		tries++
		if _, err := consume(tx.Run(ctx, "CREATE (:GoT)", nil)); err != nil {
			return nil, err
		}
		if tries < 2 {
			return nil, &neo4j.Neo4jError{Code: "Neo.TransientError.General.MadeUp", Msg: "made up"}
		}
		return nil, nil
	})
	ok(t, err)
	equal(t, tries, 2)
	equal(t, countT(t), int64(1))
	count, err := s.ExecuteRead(ctx, func(tx neo4j.ManagedTransaction) (any, error) {
		result, err := tx.Run(ctx, "MATCH (n:GoT) RETURN count(n)", nil)
		if err != nil {
			return nil, err
		}
		record, err := result.Single(ctx)
		if err != nil {
			return nil, err
		}
		return record.Values[0], nil
	})
	ok(t, err)
	equal(t, count, int64(1))
}

func TestAWriteInReadModeIsRefused(t *testing.T) {
	clearT(t)
	_, err := consume(session(t, neo4j.SessionConfig{AccessMode: neo4j.AccessModeRead}).Run(ctx, "CREATE (:GoT)", nil))
	equal(t, code(err), "Neo.ClientError.Statement.AccessMode")
	equal(t, countT(t), int64(0))
}

func TestAnErrorSpoilsTheTransactionAndTheSessionGoesOn(t *testing.T) {
	clearT(t)
	s := session(t)
	tx, err := s.BeginTransaction(ctx)
	ok(t, err)
	_, err = consume(tx.Run(ctx, "CREATE (:GoT)", nil))
	ok(t, err)
	_, err = consume(tx.Run(ctx, "WRONG", nil))
	equal(t, code(err), "Neo.ClientError.Statement.SyntaxError")
	if tx.Commit(ctx) == nil {
		t.Fatal("a spoiled transaction committed")
	}
	_, err = consume(s.Run(ctx, "RETURN 1", nil))
	ok(t, err)
	equal(t, countT(t), int64(0))
}

func TestReadModifyWriteLosesNothing(t *testing.T) {
	clearT(t)
	run(t, "CREATE (:GoT {n: 0})", nil)
	var clients sync.WaitGroup
	failures := make(chan error, 8)
	for c := 0; c < 8; c++ {
		clients.Add(1)
		go func() {
			defer clients.Done()
			s := driver.NewSession(ctx, neo4j.SessionConfig{})
			defer s.Close(ctx)
			for i := 0; i < 10; i++ {
				if _, err := consume(s.Run(ctx, "MATCH (c:GoT) SET c.n = c.n + 1", nil)); err != nil {
					failures <- err
					return
				}
			}
		}()
	}
	clients.Wait()
	close(failures)
	ok(t, <-failures)
	equal(t, one(t, "MATCH (c:GoT) RETURN c.n", nil), int64(80))
}

func TestAMillionRecordsInConstantMemory(t *testing.T) {
	watched := os.Getenv("NORNICDB_PID") != "" && os.Getenv("NORNICDB_PID") != "0"
	start, peak := 0, 0
	if watched {
		start = residentBytes(t)
	}
	result, err := session(t).Run(ctx, "UNWIND range(1, 1000000) AS i RETURN i, 'row ' + i AS text", nil)
	ok(t, err)
	count, total := int64(0), int64(0)
	for result.Next(ctx) {
		count++
		total += result.Record().Values[0].(int64)
		if watched && count%50000 == 0 {
			if now := residentBytes(t); now > peak {
				peak = now
			}
		}
	}
	ok(t, result.Err())
	equal(t, []int64{count, total}, []int64{1000000, 500000500000})
	if peak-start > lostMemoryBytes {
		t.Fatalf("the server grew by %d bytes", peak-start)
	}
}

func TestConsumeDiscardsTheRest(t *testing.T) {
	s := session(t, neo4j.SessionConfig{FetchSize: 100})
	result, err := s.Run(ctx, "UNWIND range(1, 100000000) AS i RETURN i", nil)
	ok(t, err)
	for i := int64(1); i <= 250; i++ {
		if !result.Next(ctx) {
			t.Fatal(result.Err())
		}
		equal(t, result.Record().Values[0], i)
	}
	_, err = result.Consume(ctx)
	ok(t, err)
	_, err = consume(s.Run(ctx, "RETURN 1", nil))
	ok(t, err)
}

func TestClosingASessionInMidStream(t *testing.T) {
	s := driver.NewSession(ctx, neo4j.SessionConfig{FetchSize: 10})
	result, err := s.Run(ctx, "UNWIND range(1, 1000000) AS i RETURN i", nil)
	ok(t, err)
	equal(t, result.Next(ctx), true)
	ok(t, s.Close(ctx))
	equal(t, one(t, "RETURN 1", nil), int64(1))
}

func TestACancelledContextGivesUp(t *testing.T) {
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	s := driver.NewSession(ctx, neo4j.SessionConfig{})
	defer s.Close(ctx)
	result, err := s.Run(short, "UNWIND range(1, 1000000000) AS i WITH i WHERE i % 7 = 9 RETURN count(i)", nil)
	if err == nil {
		_, err = result.Consume(short)
	}
	if err == nil {
		t.Fatal("it should have been cancelled")
	}
	equal(t, one(t, "RETURN 1", nil), int64(1))
}

func TestATransactionTimeoutEndsALongQuery(t *testing.T) {
	_, err := consume(session(t).Run(ctx, "UNWIND range(1, 1000000000) AS i WITH i WHERE i % 7 = 9 RETURN count(i)", nil,
		neo4j.WithTxTimeout(500*time.Millisecond)))
	equal(t, code(err), "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration")
}

func TestErrors(t *testing.T) {
	for _, row := range []struct {
		name, query, code, text string
		p                       parameters
	}{
		{"syntax", "RETURN 1 +", "Neo.ClientError.Statement.SyntaxError", "line 1, column", nil},
		{"undefined variable", "RETURN nope", "Neo.ClientError.Statement.SyntaxError", "`nope` not defined", nil},
		{"missing parameter", "RETURN $missing", "Neo.ClientError.Statement.ParameterMissing", "missing", nil},
		{"division by zero", "RETURN 1 / 0", "Neo.ClientError.Statement.ArithmeticError", "zero", nil},
		{"map as a property", "CREATE (:GoE {x: $m})", "Neo.ClientError.Statement.TypeError", "Property values",
			parameters{"m": parameters{"a": 1}}},
		{"unknown procedure", "CALL nope.proc()", "Neo.ClientError.Procedure.ProcedureNotFound", "nope.proc", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := consume(session(t).Run(ctx, row.query, row.p))
			equal(t, code(err), row.code)
			if !strings.Contains(err.Error(), row.text) {
				t.Fatalf("%q does not contain %q", err.Error(), row.text)
			}
		})
	}
}

func TestConstraintViolation(t *testing.T) {
	run(t, "CREATE CONSTRAINT go_unique IF NOT EXISTS FOR (n:GoU) REQUIRE n.k IS UNIQUE", nil)
	run(t, "MERGE (:GoU {k: 1})", nil)
	_, err := consume(session(t).Run(ctx, "CREATE (:GoU {k: 1})", nil))
	equal(t, code(err), "Neo.ClientError.Schema.ConstraintValidationFailed")
	run(t, "DROP CONSTRAINT go_unique", nil)
	run(t, "MATCH (n:GoU) DELETE n", nil)
}

func TestWrongPassword(t *testing.T) {
	other := connect(uri, neo4j.BasicAuth("admin", "wrong password", ""))
	defer other.Close(ctx)
	equal(t, code(other.VerifyConnectivity(ctx)), "Neo.ClientError.Security.Unauthorized")
	ok(t, driver.VerifyConnectivity(ctx))
}

func TestAChainOfBookmarksSeesWhatCameBefore(t *testing.T) {
	var bookmarks neo4j.Bookmarks
	for i := int64(0); i < 20; i++ {
		s := driver.NewSession(ctx, neo4j.SessionConfig{Bookmarks: bookmarks})
		result, err := s.Run(ctx, "MATCH (n:GoBm) RETURN count(n)", nil)
		ok(t, err)
		record, err := result.Single(ctx)
		ok(t, err)
		equal(t, record.Values[0], i)
		_, err = consume(s.Run(ctx, "CREATE (:GoBm)", nil))
		ok(t, err)
		bookmarks = s.LastBookmarks()
		equal(t, len(bookmarks), 1)
		ok(t, s.Close(ctx))
	}
	run(t, "MATCH (n:GoBm) DELETE n", nil)
}

func TestAGarbageBookmarkIsRefused(t *testing.T) {
	_, err := consume(session(t, neo4j.SessionConfig{Bookmarks: neo4j.BookmarksFromRawValues("garbage")}).Run(ctx, "RETURN 1", nil))
	equal(t, code(err), "Neo.ClientError.Transaction.InvalidBookmark")
}

func TestRoutingScheme(t *testing.T) {
	routed := connect(strings.Replace(uri, "bolt://", "neo4j://", 1), auth)
	defer routed.Close(ctx)
	ok(t, routed.VerifyConnectivity(ctx))
	_, err := neo4j.ExecuteQuery(ctx, routed, "CREATE (:GoR)", nil, neo4j.EagerResultTransformer)
	ok(t, err)
	read, err := neo4j.ExecuteQuery(ctx, routed, "MATCH (n:GoR) RETURN n", nil, neo4j.EagerResultTransformer,
		neo4j.ExecuteQueryWithReadersRouting())
	ok(t, err)
	equal(t, len(read.Records), 1)
	run(t, "MATCH (n:GoR) DELETE n", nil)
}

func Test500SessionsAtOnceWriteAndRead(t *testing.T) {
	const sessions = 500
	var ready, finished sync.WaitGroup
	ready.Add(sessions)
	finished.Add(sessions)
	failures := make(chan error, sessions)
	for c := 0; c < sessions; c++ {
		go func(i int64) {
			defer finished.Done()
			s := driver.NewSession(ctx, neo4j.SessionConfig{})
			defer s.Close(ctx)
			tx, err := s.BeginTransaction(ctx)
			if err == nil {
				_, err = consume(tx.Run(ctx, "CREATE (:GoMany {i: $i})", parameters{"i": i}))
			}
			ready.Done()
			ready.Wait() // Every session holds a connection and a transaction now.
			if err == nil {
				err = tx.Commit(ctx)
			}
			if err == nil {
				var result neo4j.ResultWithContext
				if result, err = s.Run(ctx, "MATCH (n:GoMany {i: $i}) RETURN n.i", parameters{"i": i}); err == nil {
					_, err = result.Single(ctx)
				}
			}
			if err != nil {
				failures <- err
			}
		}(int64(c))
	}
	finished.Wait()
	close(failures)
	ok(t, <-failures)
	equal(t, one(t, "MATCH (n:GoMany) RETURN count(DISTINCT n.i)", nil), int64(sessions))
	run(t, "MATCH (n:GoMany) DELETE n", nil)
}

func TestCountersAndQueryType(t *testing.T) {
	summary := run(t, "CREATE (:GoS {a: 1, b: 2})-[:R {c: 3}]->(:GoS:GoS2)", nil)
	c := summary.Counters()
	equal(t, []int{c.NodesCreated(), c.RelationshipsCreated(), c.PropertiesSet(), c.LabelsAdded()}, []int{2, 1, 3, 3})
	equal(t, summary.StatementType(), neo4j.StatementTypeWriteOnly)
	equal(t, summary.Database().Name(), "neo4j")
	equal(t, run(t, "MATCH (n:GoS) DETACH DELETE n", nil).Counters().NodesDeleted(), 2)
	equal(t, run(t, "RETURN 1", nil).Counters().ContainsUpdates(), false)
}

func TestNotificationOfAnUnknownLabel(t *testing.T) {
	for _, status := range run(t, "MATCH (n:GoNeverSeen) RETURN n", nil).GqlStatusObjects() {
		if status.GqlStatus() == "01N50" {
			return
		}
	}
	t.Fatal("no 01N50")
}

func TestExplainAndProfile(t *testing.T) {
	plan := run(t, "EXPLAIN MATCH (n:GoX) RETURN n", nil).Plan()
	if plan == nil || !strings.HasPrefix(plan.Operator(), "ProduceResults") {
		t.Fatal(plan)
	}
	profile := run(t, "PROFILE UNWIND [1, 2, 3] AS x RETURN x", nil).Profile()
	if profile == nil || profile.Records() != 3 {
		t.Fatal(profile)
	}
}
