'use strict'
// A small peer for interop tests: serves or reads one feed whose key is an Ed25519 public key.
//
//   npm install hypercore@11.39.5
//
//   node hypercore_peer.js serve --seed HEX [--port P] [--connect HOST:PORT,...]
//        [--blocks N] [--block-bytes M] [--stdin-lines] [--append-every MS] [--append-max N]
//        [--evil MODE]
//   node hypercore_peer.js read --key HEX [--connect HOST:PORT,...] [--port P]
//        [--length N] [--timeout S] [--out FILE] [--live] [--get I,J,K] [--seek BYTES] [--linger MS]
//        [--sizes] [--stdin-gets]
//
// --hypercore VERSION is for both: an older one, which is installed as hypercore-VERSION.
// serve: prints one JSON line {key, discoveryKey, port, length, ...} on stdout, one more per append,
//        and ends on SIGTERM/SIGINT (or when stdin closes, with --die-with-stdin).
// read:  downloads everything up to --length (or what the first other side has), writes the blocks
//        one after another to FILE ('-' or nothing: stdout), then one JSON line of figures on stderr.
//        Exit status 0 when complete, 3 when a block failed verification, 4 on timeout, 5 on conflict.
//        --live keeps following until --length blocks or --timeout.
//
// --connect dials each address in the initiator's role; --port listens on 127.0.0.1 in the responder's (the
// default without --connect, on a free port). Both may be given: a reader that also serves what it has.
// --host listens on another address than 127.0.0.1.
// --stdin-lines appends each line of stdin; the line "!truncate N" cuts the feed to N blocks instead.
// --stdin-gets reads the blocks whose indexes are the lines of stdin, and prints a JSON line after each.
// --sizes adds the size of every block read to a reader's figures.
// --linger keeps a reader serving for MS milliseconds after its figures.
// evil modes: flip-block, bad-signature, bad-node, bad-size, drop-node, wrong-index, huge-block,
//             silent, no-data, fake-length, fake-fork, bad-capability, equivocate, fork

const fs = require('fs')
const net = require('net')
const os = require('os')
const path = require('path')
const readline = require('readline')
const o = parse(process.argv.slice(2))
const HYPERCORE = o.hypercore ? 'hypercore-' + o.hypercore : 'hypercore'
const Hypercore = require(HYPERCORE)
const crypto = require('hypercore-crypto')

const LOOPBACK = '127.0.0.1'
const dirs = []
const sockets = new Set()
let finished = false

function parse (argv) {
  const flags = new Set(['stdin-lines', 'live', 'die-with-stdin', 'verbose', 'sizes', 'stdin-gets'])
  const o = { _: [] }
  for (let i = 0; i < argv.length; i++) {
    const a = argv[i]
    if (!a.startsWith('--')) { o._.push(a); continue }
    const name = a.slice(2)
    if (flags.has(name)) o[name] = true
    else o[name] = argv[++i]
  }
  return o
}

function num (v, other) { return v === undefined ? other : Number(v) }
function out (o) { process.stdout.write(JSON.stringify(o) + '\n') }
function hex (b) { return b ? Buffer.from(b).toString('hex') : null }

// block i of a generated feed: byte j is (i * 131 + j * 17 + (j >> 8) * 7 + salt) & 255
function block (i, size, salt = 0) {
  const b = Buffer.allocUnsafe(size)
  for (let j = 0; j < size; j++) b[j] = (i * 131 + j * 17 + (j >> 8) * 7 + salt) & 255
  return b
}

function tempDir () {
  const d = fs.mkdtempSync(path.join(os.tmpdir(), 'hypercore-peer-'))
  dirs.push(d)
  return d
}

async function finish (code) {
  if (finished) return
  finished = true
  for (const s of sockets) s.destroy()
  for (const d of dirs) {
    try { fs.rmSync(d, { recursive: true, force: true }) } catch {}
  }
  process.exit(code)
}

// one secret stream over one TCP socket
function join (pick, socket, initiator, log) {
  sockets.add(socket)
  socket.setNoDelay(true)
  const core = pick()
  const stream = core.replicate(initiator)
  socket.on('error', () => {})
  stream.on('error', (err) => log && process.stderr.write(JSON.stringify({ stream: err.message, code: err.code }) + '\n'))
  socket.pipe(stream).pipe(socket)
  const done = () => { sockets.delete(socket); socket.destroy(); stream.destroy() }
  socket.on('close', done)
  stream.on('close', done)
  return stream
}

// dial every --connect address; listen when --port is given, or when there is nothing to dial
async function link (pick, o, log) {
  const addresses = o.connect ? o.connect.split(',') : []
  for (const address of addresses) {
    const [host, port] = address.split(':')
    await new Promise((resolve, reject) => {
      const socket = net.connect(Number(port), host)
      socket.once('error', reject)
      socket.once('connect', () => {
        join(pick, socket, true, log)
        resolve()
      })
    })
  }
  if (o.port === undefined && addresses.length) return null

  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => join(pick, socket, false, log))
    server.once('error', reject)
    server.listen(num(o.port, 0), o.host || LOOPBACK, () => resolve(server.address().port))
  })
}

// ---- misbehaviour: change what goes out on the wire, leave the store alone -------------
function misbehave (mode) {
  const { wire } = require(HYPERCORE + '/lib/messages')
  const Replicator = require(HYPERCORE + '/lib/replicator')

  const rewrite = (name, change) => {
    const { preencode, encode } = wire[name]
    const last = { from: null, to: null }
    const turn = (m) => {
      if (last.from !== m) { last.from = m; last.to = change(m) }
      return last.to
    }
    wire[name].preencode = (state, m) => preencode(state, turn(m))
    wire[name].encode = (state, m) => encode(state, turn(m))
  }
  const anyNodes = (m, change) => {
    const c = { ...m }
    for (const part of ['block', 'hash', 'upgrade']) {
      if (c[part] && c[part].nodes.length) {
        c[part] = { ...c[part], nodes: change([...c[part].nodes]) }
        return c
      }
    }
    return m
  }

  switch (mode) {
    case 'flip-block':
      rewrite('data', (m) => {
        if (!m.block || !m.block.value || m.block.value.length === 0) return m
        const value = Buffer.from(m.block.value)
        value[value.length >> 1] ^= 1
        return { ...m, block: { ...m.block, value } }
      })
      break
    case 'bad-signature':
      rewrite('data', (m) => {
        if (!m.upgrade) return m
        const signature = Buffer.from(m.upgrade.signature)
        signature[5] ^= 1
        return { ...m, upgrade: { ...m.upgrade, signature } }
      })
      break
    case 'bad-node':
      rewrite('data', (m) => anyNodes(m, (l) => {
        const hash = Buffer.from(l[l.length - 1].hash)
        hash[0] ^= 1
        l[l.length - 1] = { ...l[l.length - 1], hash }
        return l
      }))
      break
    case 'bad-size':
      rewrite('data', (m) => anyNodes(m, (l) => {
        l[0] = { ...l[0], size: l[0].size + 1 }
        return l
      }))
      break
    case 'drop-node':
      rewrite('data', (m) => anyNodes(m, (l) => l.slice(0, -1)))
      break
    case 'wrong-index':
      rewrite('data', (m) => m.block ? { ...m, block: { ...m.block, index: m.block.index + 1 } } : m)
      break
    case 'huge-block':
      rewrite('data', (m) => m.block ? { ...m, block: { ...m.block, value: Buffer.alloc(15 * 1024 * 1024, 1) } } : m)
      break
    case 'fake-length':
      rewrite('sync', (m) => ({ ...m, length: m.length + 1000 }))
      break
    case 'fake-fork':
      rewrite('sync', (m) => ({ ...m, fork: m.fork + 1 }))
      break
    case 'silent':
      Replicator.Peer.prototype.onrequest = async function () {}
      break
    case 'no-data':
      Replicator.Peer.prototype.onrequest = async function (m) { this.wireNoData.send({ request: m.id, reason: 1 }) }
      break
    case 'bad-capability':
      rewrite('handshake', (m) => ({ ...m, capability: Buffer.alloc(32, 1) }))
      break
    case 'equivocate':
    case 'fork':
      break // done with the stores
    default:
      throw new Error('unknown --evil ' + mode)
  }
}

// hypercore 10 keeps its tree where 11 keeps a state
function stateOf (core) { return core.core.state || core.core.tree }

async function serve (o) {
  if (!/^[0-9a-f]{64}$/i.test(o.seed || '')) throw new Error('--seed needs 64 hex digits')
  const keyPair = crypto.keyPair(Buffer.from(o.seed, 'hex'))
  const size = num(o['block-bytes'], 64)
  const count = num(o.blocks, 0)
  if (o.evil) misbehave(o.evil)

  const make = async (changed) => {
    const core = new Hypercore(tempDir(), { keyPair, compat: true })
    await core.ready()
    for (let i = 0; i < count; i += 256) {
      const part = []
      for (let j = i; j < Math.min(count, i + 256); j++) part.push(block(j, size, j === changed ? 77 : 0))
      await core.append(part)
    }
    return core
  }

  const cores = [await make(-1)]
  const core = cores[0]
  if (o.evil === 'equivocate') cores.push(await make(count - 1)) // same length, another last block
  if (o.evil === 'fork') {
    await core.truncate(count >> 1)
    await core.append(block(count >> 1, size, 77))
  }
  let turn = 0
  const pick = () => cores[turn++ % cores.length]

  const describe = async () => ({
    length: core.length,
    byteLength: core.byteLength,
    fork: core.fork,
    treeHash: hex(await core.treeHash()),
    signature: hex(stateOf(core).signature),
    remoteContiguousLength: core.remoteContiguousLength
  })
  core.on('remote-contiguous-length', async () => out(await describe()))

  const port = await link(pick, o, o.verbose)
  out({ key: hex(core.key), discoveryKey: hex(core.discoveryKey), port, ...(await describe()) })

  let queue = Promise.resolve()
  const change = (what) => {
    queue = queue.then(async () => {
      for (const c of cores) await what(c)
      out(await describe())
    })
    return queue
  }
  const append = (b) => change((c) => c.append(b))
  const truncate = (length) => change((c) => c.truncate(length))

  if (o['stdin-lines']) {
    const lines = readline.createInterface({ input: process.stdin })
    lines.on('line', (line) => {
      const cut = /^!truncate (\d+)$/.exec(line)
      if (cut) truncate(Number(cut[1]))
      else append(Buffer.from(line))
    })
  } else if (o['die-with-stdin']) {
    process.stdin.resume()
    process.stdin.on('end', () => finish(0))
  }
  if (o['append-every']) {
    let left = num(o['append-max'], Infinity)
    const timer = setInterval(() => {
      if (left-- <= 0) return clearInterval(timer)
      append(block(core.length, size))
    }, Number(o['append-every']))
  }
}

// without a peer update() answers at once, so look again only after a pause
async function firstLength (core) {
  while (core.length === 0) {
    await core.update({ wait: true })
    if (core.length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function read (o) {
  if (!/^[0-9a-f]{64}$/i.test(o.key || '')) throw new Error('--key needs 64 hex digits')
  const key = Buffer.from(o.key, 'hex')
  // nothing but the public key; hypercore 11.0 must be told that it is no manifest's hash
  const core = new Hypercore(tempDir(), key, HYPERCORE.startsWith('hypercore-11.0.') ? { compat: true } : {})
  await core.ready()

  const fd = !o.out || o.out === '-' ? 1 : fs.openSync(o.out, 'w')
  const started = process.hrtime.bigint()
  const stats = { blocks: 0, bytes: 0, seconds: 0, length: 0, fork: 0, invalid: 0, conflict: false }
  if (o.sizes) stats.sizes = []
  let first = null
  let ended = false

  const end = async (code, extra = {}) => {
    if (ended) return
    ended = true
    const now = process.hrtime.bigint()
    stats.seconds = Number(now - started) / 1e9
    if (first !== null) stats.secondsFromFirst = Number(now - first) / 1e9
    stats.length = core.length
    stats.fork = core.fork
    if (core.length && stateOf(core).roots.length) {
      stats.treeHash = hex(crypto.tree(stateOf(core).roots))
    }
    stats.remoteContiguousLength = core.remoteContiguousLength
    fs.writeSync(2, JSON.stringify({ ...stats, ...extra }) + '\n')
    if (o.linger) await new Promise((resolve) => setTimeout(resolve, Number(o.linger)))
    finish(code)
  }

  const seconds = num(o.timeout, 60)
  setTimeout(() => end(stats.invalid ? 3 : 4, { timeout: true }), seconds * 1000)
  core.on('verification-error', (err) => {
    stats.invalid++
    stats.error = err.code
    if (stats.invalid === 1 && !o.live) setTimeout(() => end(stats.conflict ? 5 : 3), 300)
  })
  core.on('conflict', () => { stats.conflict = true; setTimeout(() => end(5), 200) })

  const port = await link(() => core, o, o.verbose)
  if (port) fs.writeSync(2, JSON.stringify({ port }) + '\n')

  const put = (b) => {
    if (first === null) first = process.hrtime.bigint()
    stats.blocks++
    stats.bytes += b.length
    if (stats.sizes) stats.sizes.push(b.length)
    for (let at = 0; at < b.length;) {
      try {
        at += fs.writeSync(fd, b, at)
      } catch (err) {
        if (err.code !== 'EAGAIN') throw err
      }
    }
  }

  if (o.seek !== undefined) {
    await firstLength(core)
    const [index, offset] = await core.seek(Number(o.seek))
    put((await core.get(index)).subarray(offset))
    return end(0, { index, offset })
  }

  if (o['stdin-gets']) {
    for await (const line of readline.createInterface({ input: process.stdin })) {
      const index = Number(line)
      put(await core.get(index))
      fs.writeSync(2, JSON.stringify({ index, remoteContiguousLength: core.remoteContiguousLength }) + '\n')
    }
    return end(0)
  }

  if (o.get !== undefined) {
    for (const i of o.get.split(',')) put(await core.get(Number(i)))
    return end(0)
  }

  let want = num(o.length, 0)
  if (!want && !o.live) {
    await firstLength(core)
    want = core.length
  }
  if (!want) want = Infinity

  core.download({ start: 0, end: want === Infinity ? -1 : want })
  try {
    for (let i = 0; i < want; i++) put(await core.get(i))
  } catch (err) {
    if (stats.conflict) return // a conflict closes the feed; its handler ends the process
    throw err
  }
  return end(0)
}

process.on('SIGTERM', () => finish(0))
process.on('SIGINT', () => finish(0))

const run = o._[0] === 'serve' ? serve : o._[0] === 'read' ? read : null
if (run === null) {
  process.stderr.write('usage: hypercore_peer.js serve|read ... (see the head of the file)\n')
  process.exit(2)
}
run(o).catch((err) => {
  if (finished) return
  process.stderr.write((o.verbose ? err.stack : err.message) + '\n')
  finish(1)
})
