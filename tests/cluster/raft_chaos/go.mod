module nornicdb/chaos

go 1.18

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/neo4j/neo4j-go-driver/v5 v5.28.4
)
