// The JavaScript driver's client under faults; README.md says what all of them do.
'use strict'

const neo4j = require('neo4j-driver')

const members = process.env.NORNICDB_MEMBERS.split(',')
const name = process.env.NORNICDB_NAME
const pause = Number(process.env.NORNICDB_PAUSE_MS)
const COUNT = 'MATCH (c:Counter {id: $worker}) SET c.n = c.n + 1'
const CREATE = 'CREATE (:Write {id: $id, attempt: $attempt})'
const LOOK = 'OPTIONAL MATCH (w:Write {id: $id}) WITH count(w) AS there MATCH (c:Counter {id: $worker}) RETURN there, c.n AS count'

const driver = neo4j.driver('neo4j://cluster:7687', neo4j.auth.basic(process.env.NORNICDB_USER, process.env.NORNICDB_PASSWORD), {
  resolver: address => address.startsWith('cluster:') ? members : [address],
  disableLosslessIntegers: true
})
let stopped = false

const say = line => process.stdout.write(JSON.stringify(line) + '\n')
const named = error => `${error.name} ${error.code || ''}: ${error.message}` + (error.cause ? ` <- ${named(error.cause)}` : '')
const now = () => Date.now() / 1000

class Worker {
  constructor (number) {
    this.number = number
    this.kind = number % 3
    this.id = `${name}-${number}`
    this.acknowledged = 0
  }

  async prepare () {
    await driver.executeQuery('MERGE (c:Counter {id: $worker}) SET c.n = 0', { worker: this.id })
    this.bookmarks = await driver.executeQueryBookmarkManager.getBookmarks()
    this.manager = neo4j.bookmarkManager({ initialBookmarks: this.bookmarks })
  }

  async inSession (work) {
    const session = driver.session(this.kind === 1 ? { database: 'neo4j', bookmarkManager: this.manager } : { bookmarks: this.bookmarks })
    try {
      const result = await work(session)
      this.bookmarks = session.lastBookmarks()
      return result
    } finally {
      await session.close()
    }
  }

  async write (parameters, line) {
    if (this.kind === 0) {
      await driver.executeQuery(`${COUNT} ${CREATE}`, { ...parameters, attempt: neo4j.int(0) })
      return
    }
    await this.inSession(session => session.executeWrite(async transaction => {
      line.attempts += 1
      await transaction.run(COUNT, parameters)
      await transaction.run(CREATE, { ...parameters, attempt: neo4j.int(line.attempts) })
    }))
  }

  async read (parameters) {
    const { records } = this.kind === 0
      ? await driver.executeQuery(LOOK, parameters, { routing: neo4j.routing.READ })
      : await this.inSession(session => session.executeRead(transaction => transaction.run(LOOK, parameters)))
    return records[0].toObject()
  }

  async round (number) {
    const parameters = { worker: this.id, id: `${this.id}-${number}` }
    const line = { worker: this.number, number, began: now(), attempts: 0, write: '', read: '' }
    try {
      await this.write(parameters, line)
      this.acknowledged += 1
    } catch (error) {
      line.write = named(error)
    }
    try {
      Object.assign(line, await this.read(parameters))
    } catch (error) {
      line.read = named(error)
    }
    say({ ...line, ended: now(), acknowledged: this.acknowledged })
  }

  async run () {
    for (let number = 1; !stopped; ++number) {
      await this.round(number)
      await new Promise(resolve => setTimeout(resolve, pause))
    }
  }
}

async function main () {
  const workers = Array.from({ length: Number(process.env.NORNICDB_WORKERS) }, (_, number) => new Worker(number))
  for (const worker of workers) {
    await worker.prepare()
  }
  say({ ready: true })
  for (const event of ['data', 'end']) {
    process.stdin.once(event, () => { stopped = true })
  }
  await Promise.all(workers.map(worker => worker.run()))
  process.stdin.destroy()
  await driver.close()
  say({ done: true })
}

main()
