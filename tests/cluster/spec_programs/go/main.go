// The guide's lines, and what shows that their driver works: it writes and reads.
package main

import (
	"fmt"
	"time"

	"github.com/neo4j/neo4j-go-driver/v5/neo4j"
)

func main() {
// Go example
driver, _ := neo4j.NewDriver(
    "bolt://node1:7687",
    neo4j.BasicAuth("admin", "admin", ""),
    func(config *neo4j.Config) {
        config.MaxConnectionPoolSize = 50
        config.ConnectionAcquisitionTimeout = time.Minute
        config.MaxTransactionRetryTime = 30 * time.Second
    },
)
	defer driver.Close()
	session := driver.NewSession(neo4j.SessionConfig{})
	defer session.Close()
	name, err := session.WriteTransaction(func(tx neo4j.Transaction) (any, error) {
		result, err := tx.Run("CREATE (n:Person {name: $name}) RETURN n.name", map[string]any{"name": "Gopher"})
		if err != nil {
			return nil, err
		}
		record, err := result.Single()
		if err != nil {
			return nil, err
		}
		return record.Values[0], nil
	})
	fmt.Println(name, err)
}
