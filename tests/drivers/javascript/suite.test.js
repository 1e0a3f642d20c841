// The official JavaScript driver against a running server. Reads NORNICDB_URI, _USER, _PASSWORD and, to watch the
// server's memory, NORNICDB_PID.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const { after, describe, test: untimedTest } = require('node:test')
const neo4j = require('neo4j-driver')

const uri = process.env.NORNICDB_URI
const auth = neo4j.auth.basic(process.env.NORNICDB_USER || 'admin', process.env.NORNICDB_PASSWORD || 'admin')
const pid = Number(process.env.NORNICDB_PID || 0)
const lostMemoryBytes = 64 << 20

const test = (name, work) => untimedTest(name, { timeout: 180000 }, work)

const driver = neo4j.driver(uri, auth, { maxConnectionPoolSize: 600, connectionAcquisitionTimeout: 120000 })
after(() => driver.close())

async function inSession (work, config = {}) {
  const session = driver.session(config)
  try {
    return await work(session)
  } finally {
    await session.close()
  }
}

const run = (query, parameters) => inSession(session => session.run(query, parameters))
const one = async (query, parameters) => {
  const { records } = await run(query, parameters)
  assert.equal(records.length, 1)
  return records[0].get(0)
}

async function echoes (value) {
  assert.deepEqual(await one('RETURN $x AS x', { x: value }), value)
}

async function stores (value) {
  await echoes(value)
  await run('CREATE (:JsStored {x: $value})', { value })
  const { records } = await run('MATCH (n:JsStored) RETURN n.x AS x, n')
  await run('MATCH (n:JsStored) DELETE n')
  assert.deepEqual(records[0].get('x'), value)
  assert.deepEqual(records[0].get('n').properties.x, value)
}

const failure = async (work) => {
  try {
    await work()
  } catch (error) {
    return error
  }
  assert.fail('it should have failed')
}

const residentBytes = () => {
  const line = fs.readFileSync(`/proc/${pid}/status`, 'ascii').split('\n').find(l => l.startsWith('VmRSS:'))
  return Number(line.split(/\s+/)[1]) * 1024
}

describe('values', () => {
  test('null and booleans', async () => {
    await echoes(null)
    await stores(true)
    await stores(false)
  })

  test('integers at every width and edge', async () => {
    for (const bits of [4n, 7n, 8n, 15n, 16n, 31n, 32n, 53n, 62n]) {
      for (const value of [(1n << bits) - 1n, 1n << bits, -(1n << bits), -(1n << bits) - 1n]) {
        await echoes(neo4j.int(value.toString()))
      }
    }
    await stores(neo4j.int('9223372036854775807'))
    await stores(neo4j.int('-9223372036854775808'))
    await stores(neo4j.int(0))
  })

  test('floats', async () => {
    for (const value of [0.5, -2.25, 1e308, 5e-324, Infinity, -Infinity, 0.1]) {
      await stores(value)
    }
    assert.ok(Number.isNaN(await one('RETURN $x AS x', { x: NaN })))
    assert.equal(await one('RETURN 1.0 AS x'), 1)
  })

  test('strings', async () => {
    for (const value of ['', 'a', 'x'.repeat(15), 'x'.repeat(16), 'x'.repeat(255), 'x'.repeat(256), 'žluťoučký kůň', '日本語',
      '🙂👩‍👩‍👧', 'a\0b', '\'"\\`\n\t', 'ü'.repeat(35000)]) {
      await stores(value)
    }
  })

  test('bytes', async () => {
    for (const length of [0, 1, 255, 256, 70000]) {
      await echoes(Int8Array.from({ length }, (_, i) => (i * 7) % 256 - 128))
    }
  })

  test('lists, maps and nesting', async () => {
    await stores([1.5, 2.5])
    await stores(['a', 'b'])
    await echoes([])
    await echoes(Array.from({ length: 70000 }, (_, i) => 'v' + i))
    await echoes({})
    await echoes({ a: [{ b: { c: ['x', [true, [null, { d: 0.5 }]]] } }], ü: 'x' })
    await echoes(Object.fromEntries(Array.from({ length: 300 }, (_, i) => ['k' + i, 'v' + i])))
  })

  test('temporal values', async () => {
    for (const value of [
      new neo4j.types.Date(neo4j.int(2024), neo4j.int(2), neo4j.int(29)),
      new neo4j.types.LocalTime(neo4j.int(12), neo4j.int(34), neo4j.int(56), neo4j.int(123456789)),
      new neo4j.types.Time(neo4j.int(12), neo4j.int(34), neo4j.int(56), neo4j.int(7), neo4j.int(-39600)),
      new neo4j.types.LocalDateTime(neo4j.int(2024), neo4j.int(7), neo4j.int(14), neo4j.int(1), neo4j.int(2), neo4j.int(3),
        neo4j.int(4)),
      new neo4j.types.DateTime(neo4j.int(2024), neo4j.int(7), neo4j.int(14), neo4j.int(1), neo4j.int(2), neo4j.int(3),
        neo4j.int(4), neo4j.int(19800)),
      new neo4j.types.Duration(neo4j.int(14), neo4j.int(3), neo4j.int(5), neo4j.int(6))
    ]) {
      await stores(value)
    }
    const zoned = await one("RETURN datetime('2024-07-14T01:02:03[Europe/Stockholm]') AS x")
    assert.equal(zoned.timeZoneId, 'Europe/Stockholm')
    assert.equal(zoned.toString(), '2024-07-14T01:02:03+02:00[Europe/Stockholm]')
    assert.deepEqual(await one('RETURN $x AS x', { x: zoned }), zoned)
  })

  test('points', async () => {
    for (const [srid, ...place] of [[7203, 1.5, -2.5], [9157, 1.5, 2.5, 3.5], [4326, 12.5, 55.7], [4979, 12.5, 55.7, 8.5]]) {
      await stores(new neo4j.types.Point(neo4j.int(srid), ...place))
    }
  })

  test('nodes, relationships and paths', async () => {
    const { records } = await run(
      "CREATE p = (a:JsA:JsB {name: 'a'})-[r:JS_KNOWS {since: 2020}]->(b:JsC) RETURN a, r, p")
    const [node, relationship, path] = ['a', 'r', 'p'].map(key => records[0].get(key))
    assert.ok(neo4j.isNode(node) && neo4j.isRelationship(relationship) && neo4j.isPath(path))
    assert.deepEqual([...node.labels].sort(), ['JsA', 'JsB'])
    assert.equal(node.properties.name, 'a')
    assert.equal(relationship.type, 'JS_KNOWS')
    assert.equal(relationship.startNodeElementId, node.elementId)
    assert.equal(path.length, 1)
    assert.equal(path.segments[0].relationship.elementId, relationship.elementId)
    assert.equal(await one('MATCH (n) WHERE elementId(n) = $id RETURN n.name', { id: node.elementId }), 'a')
    assert.ok(node.identity.inSafeRange())
    await run('MATCH (n:JsA)-[r]->(m:JsC) DETACH DELETE n, m')
  })
})

describe('transactions', () => {
  const count = async () => (await one('MATCH (n:JsT) RETURN count(n) AS c')).toNumber()
  const clear = () => run('MATCH (n:JsT) DETACH DELETE n')

  test('commit makes visible and rollback does not', async () => {
    await clear()
    await inSession(async session => {
      let tx = await session.beginTransaction()
      await tx.run('CREATE (:JsT)')
      assert.equal(await count(), 0)
      await tx.commit()
      assert.equal(await count(), 1)
      tx = await session.beginTransaction()
      await tx.run('CREATE (:JsT)')
      await tx.rollback()
    })
    assert.equal(await count(), 1)
  })

  test('managed functions run again after a transient error', async () => {
    await clear()
    let tries = 0
    await inSession(session => session.executeWrite(async tx => {
      await tx.run('CREATE (:JsT)')
      if (++tries < 2) {
        throw new neo4j.Neo4jError('made up', 'Neo.TransientError.General.MadeUp', '50N42', 'made up')
      }
    }))
    assert.deepEqual([tries, await count()], [2, 1])
    assert.equal((await inSession(s => s.executeRead(tx => tx.run('MATCH (n:JsT) RETURN n')))).records.length, 1)
  })

  test('executeQuery', async () => {
    await clear()
    const { records, summary } = await driver.executeQuery('CREATE (n:JsT {a: $a}) RETURN n.a AS a', { a: 'x' })
    assert.equal(records[0].get('a'), 'x')
    assert.equal(summary.counters.updates().nodesCreated, 1)
  })

  test('a write in read mode is refused', async () => {
    await clear()
    const error = await failure(() => inSession(s => s.run('CREATE (:JsT)'), { defaultAccessMode: neo4j.session.READ }))
    assert.equal(error.code, 'Neo.ClientError.Statement.AccessMode')
    assert.equal(await count(), 0)
  })

  test('an error spoils the transaction and the session goes on', async () => {
    await clear()
    await inSession(async session => {
      const tx = session.beginTransaction()
      await tx.run('CREATE (:JsT)')
      assert.equal((await failure(() => tx.run('WRONG'))).code, 'Neo.ClientError.Statement.SyntaxError')
      await failure(() => tx.commit())
      assert.equal((await session.run('RETURN 1 AS x')).records.length, 1)
    })
    assert.equal(await count(), 0)
  })

  test('an update under contention loses nothing', async () => {
    await clear()
    await run('CREATE (:JsT {n: 0})')
    await Promise.all(Array.from({ length: 8 }, () => inSession(async session => {
      for (let i = 0; i < 20; ++i) {
        await session.run('MATCH (c:JsT) SET c.n = c.n + 1')
      }
    })))
    assert.equal((await one('MATCH (c:JsT) RETURN c.n AS n')).toNumber(), 160)
  })
})

describe('streams', () => {
  test('a million records in constant memory', async () => {
    const startBytes = pid ? residentBytes() : 0
    let [count, total, peakBytes] = [0, 0, 0]
    await inSession(async session => {
      for await (const record of session.run("UNWIND range(1, 1000000) AS i RETURN i, 'row ' + i AS text")) {
        count += 1
        total += record.get('i').toNumber()
        if (pid && count % 50000 === 0) {
          peakBytes = Math.max(peakBytes, residentBytes())
        }
      }
    })
    assert.deepEqual([count, total], [1000000, 500000500000])
    if (pid) {
      assert.ok(peakBytes - startBytes < lostMemoryBytes, `the server grew by ${peakBytes - startBytes} bytes`)
    }
  })

  test('leaving a stream early', async () => {
    await inSession(async session => {
      let seen = 0
      for await (const record of session.run('UNWIND range(1, 100000000) AS i RETURN i')) {
        assert.equal(record.get('i').toNumber(), ++seen)
        if (seen === 2500) {
          break
        }
      }
      assert.equal(seen, 2500)
      assert.equal((await session.run('RETURN 1 AS x')).records.length, 1)
    }, { fetchSize: 1000 })
  })

  test('closing a session in mid stream', async () => {
    const session = driver.session({ fetchSize: 10 })
    const rows = session.run('UNWIND range(1, 1000000) AS i RETURN i')[Symbol.asyncIterator]()
    assert.equal((await rows.next()).value.get('i').toNumber(), 1)
    await session.close()
    assert.equal((await one('RETURN 1 AS x')).toNumber(), 1)
  })

  test('a transaction timeout ends a long query', async () => {
    const error = await failure(() => inSession(session => session.run(
      'UNWIND range(1, 1000000000) AS i WITH i WHERE i % 7 = 9 RETURN count(i)', {}, { timeout: 500 })))
    assert.equal(error.code, 'Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration')
  })
})

describe('errors', () => {
  for (const [what, code, text, query, parameters] of [
    ['syntax', 'Neo.ClientError.Statement.SyntaxError', /line 1, column/, 'RETURN 1 +'],
    ['undefined variable', 'Neo.ClientError.Statement.SyntaxError', /`nope` not defined/, 'RETURN nope'],
    ['missing parameter', 'Neo.ClientError.Statement.ParameterMissing', /missing/, 'RETURN $missing'],
    ['division by zero', 'Neo.ClientError.Statement.ArithmeticError', /zero/, 'RETURN 1 / 0'],
    ['map as a property', 'Neo.ClientError.Statement.TypeError', /Property values/, 'CREATE (:JsE {x: $m})', { m: { a: 1 } }],
    ['unknown procedure', 'Neo.ClientError.Procedure.ProcedureNotFound', /nope\.proc/, 'CALL nope.proc()']
  ]) {
    test(what, async () => {
      const error = await failure(() => run(query, parameters))
      assert.equal(error.code, code)
      assert.match(error.message, text)
      assert.equal((await one('RETURN 1 AS x')).toNumber(), 1)
    })
  }

  test('constraint violation', async () => {
    await run('CREATE CONSTRAINT js_unique IF NOT EXISTS FOR (n:JsU) REQUIRE n.k IS UNIQUE')
    await run('MERGE (:JsU {k: 1})')
    const error = await failure(() => run('CREATE (:JsU {k: 1})'))
    assert.equal(error.code, 'Neo.ClientError.Schema.ConstraintValidationFailed')
    await run('DROP CONSTRAINT js_unique')
    await run('MATCH (n:JsU) DELETE n')
  })

  test('wrong password', async () => {
    const other = neo4j.driver(uri, neo4j.auth.basic('admin', 'wrong password'))
    try {
      assert.equal((await failure(() => other.getServerInfo())).code, 'Neo.ClientError.Security.Unauthorized')
    } finally {
      await other.close()
    }
    await driver.getServerInfo()
  })
})

describe('bookmarks', () => {
  test('a chain of sessions sees what came before', async () => {
    let bookmarks
    for (let i = 0; i < 20; ++i) {
      bookmarks = await inSession(async session => {
        assert.equal((await session.run('MATCH (n:JsBm) RETURN count(n) AS c')).records[0].get('c').toNumber(), i)
        await session.run('CREATE (:JsBm)')
        return session.lastBookmarks()
      }, { bookmarks })
      assert.equal(bookmarks.length, 1)
    }
    await run('MATCH (n:JsBm) DELETE n')
  })

  test('garbage is refused', async () => {
    const error = await failure(() => inSession(s => s.run('RETURN 1'), { bookmarks: ['garbage'] }))
    assert.equal(error.code, 'Neo.ClientError.Transaction.InvalidBookmark')
  })
})

describe('connections', () => {
  test('routing scheme', async () => {
    const routed = neo4j.driver(uri.replace('bolt://', 'neo4j://'), auth)
    try {
      assert.match((await routed.getServerInfo()).agent, /^Neo4j\//)
      const write = routed.session({ defaultAccessMode: neo4j.session.WRITE })
      await write.run('CREATE (:JsR)')
      await write.close()
      const read = routed.session({ defaultAccessMode: neo4j.session.READ, bookmarks: write.lastBookmarks() })
      assert.equal((await read.run('MATCH (n:JsR) RETURN n')).records.length, 1)
      await read.close()
    } finally {
      await routed.close()
    }
    await run('MATCH (n:JsR) DELETE n')
  })

  test('500 sessions at once write and read', async () => {
    const sessions = 500
    let waiting = sessions
    let open
    const all = new Promise(resolve => { open = resolve })
    const seen = await Promise.all(Array.from({ length: sessions }, (_, i) => inSession(async session => {
      const tx = await session.beginTransaction()
      await tx.run('CREATE (:JsMany {i: $i})', { i: neo4j.int(i) })
      if (--waiting === 0) {
        open()
      }
      await all // Every session holds a connection and a transaction now.
      await tx.commit()
      return (await session.run('MATCH (n:JsMany {i: $i}) RETURN n.i AS i', { i: neo4j.int(i) })).records[0].get('i').toNumber()
    })))
    assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: sessions }, (_, i) => i))
    await run('MATCH (n:JsMany) DELETE n')
  })
})

describe('summaries', () => {
  test('counters and query type', async () => {
    const { summary } = await run('CREATE (:JsS {a: 1, b: 2})-[:R {c: 3}]->(:JsS:JsS2)')
    const updates = summary.counters.updates()
    assert.deepEqual([updates.nodesCreated, updates.relationshipsCreated, updates.propertiesSet, updates.labelsAdded], [2, 1, 3, 3])
    assert.deepEqual([summary.queryType, summary.database.name], ['w', 'neo4j'])
    assert.equal((await run('MATCH (n:JsS) DETACH DELETE n')).summary.counters.updates().nodesDeleted, 2)
    assert.equal((await run('RETURN 1')).summary.counters.containsUpdates(), false)
  })

  test('notification of an unknown label', async () => {
    const { summary } = await run('MATCH (n:JsNeverSeen) RETURN n')
    assert.ok(summary.gqlStatusObjects.some(status => status.gqlStatus === '01N50'))
  })

  test('explain and profile', async () => {
    const explained = await run('EXPLAIN MATCH (n:JsX) RETURN n')
    assert.equal(explained.records.length, 0)
    assert.match(explained.summary.plan.operatorType, /^ProduceResults/)
    const profiled = await run('PROFILE UNWIND [1, 2, 3] AS x RETURN x')
    assert.equal(Number(profiled.summary.profile.rows), 3)
  })
})
