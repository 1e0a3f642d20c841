"""The four applications of the course, with the driver of its age or today's:

person.py testRead|testWrite|addPerson|readPerson <scheme> <port> [<name>]

and a fifth, chain, for what the course says of bookmarks.
"""
import sys

import neo4j

OLD = neo4j.__version__.startswith("1.")
# Both ways of writing a parameter, each in its time.
NAME, TITLE = ("{name}", "{title}") if OLD else ("$name", "$title")


def create(session, name):
    session.run(f"CREATE (a:Person {{name: {NAME}, title: {TITLE}}})", name=name, title="King").consume()
    record = session.run(f"MATCH (a:Person) WHERE a.name = {NAME} RETURN a.name AS name, a.title AS title LIMIT 1", name=name).single()
    return f"{record['title']} {record['name']}"


def find(session, name):
    return session.run(f"MATCH (a:Person {{name: {NAME}}}) RETURN coalesce(a.title + ' ', '') + a.name LIMIT 1", name=name).single()


def chain(driver, name):
    """A write, and what a reader shows that is given its bookmark, some times: each reader has its turn."""
    for turn in range(6):
        with driver.session() as session:
            create(session, f"{name} {turn}")
            bookmark = session.last_bookmark() if OLD else session.last_bookmarks()
        with driver.session(**{"bookmark": bookmark, "access_mode": "READ"} if OLD else
                            {"bookmarks": bookmark, "default_access_mode": "READ"}) as session:
            read = session.read_transaction if OLD else session.execute_read
            if read(lambda tx, n=f"{name} {turn}": find(tx, n)) is None:
                return f"***** {name} {turn} is not there"
    return f"***** Each reader shows {name}"


def main():
    what, scheme, port = sys.argv[1:4]
    uri = f"{scheme}://localhost:{port}"
    print("driverString is " + uri)
    driver = neo4j.GraphDatabase.driver(uri, auth=("admin", "admin"))
    reads = what.startswith("read") or what == "testRead"
    session = driver.session(**{"access_mode" if OLD else "default_access_mode": "READ" if reads else "WRITE"})
    try:
        if what == "testRead":
            print(f"***** {find(session, 'Tom Hanks')[0]} found in Movie database.")
        elif what == "chain":
            print(chain(driver, sys.argv[4]))
        elif what == "readPerson":
            record = find(session, sys.argv[4])
            print(f"***** Record found: {record[0]}" if record else "***** Record not found")
        else:
            print("***** Record created: " + create(session, sys.argv[4] if what == "addPerson" else "Arthur"))
        session.close()
    except Exception as error:  # pylint: disable=broad-except
        print("Cannot write to this server!")
        print(f"{type(error).__name__}: {error}")
    driver.close()


main()
