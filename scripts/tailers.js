// Prints the lines that tailers of npm see: tailers.js PACKAGE POSITIONS FILE...
//
// POSITIONS is the file in which those that can start at a position keep it; it is written at SIGTERM.
"use strict";

const fs = require("fs");
const path = require("path");
const { createInterface } = require("readline");

const [name, positions, ...files] = process.argv.slice(2);
const POLL_MS = 200;

function print(line) {
  if (line !== "") process.stdout.write(`${line}\n`);
}

function fail(error) {
  process.stderr.write(`${name}: ${error.stack || error}\n`);
}

const start = {
  tail(file) {
    const { Tail } = require("tail");
    new Tail(file).on("line", print).on("error", fail);
  },

  "always-tail"(file) {
    const Tail = require("always-tail");
    const tail = new Tail(file, "\n", { interval: POLL_MS });
    tail.on("line", print);
    tail.on("error", fail);
    tail.watch();
  },

  "@logdna/tail-file"(file) {
    const TailFile = require("@logdna/tail-file");
    const tail = new TailFile(file, {
      pollFileIntervalMs: POLL_MS,
      maxPollFailures: 1000,
      encoding: "utf8",
    });
    tail.on("tail_error", fail);
    createInterface({ input: tail }).on("line", print);
    tail.start().catch(fail);
  },

  "tail-forever"(file) {
    const Tail = require("tail-forever");
    const known = fs.existsSync(positions) ? JSON.parse(fs.readFileSync(positions)) : {};
    const position = known[file] || { pos: 0 };
    const tail = new Tail(file, { start: position.pos, inode: position.inode, interval: POLL_MS });
    tail.on("line", print);
    tail.on("error", fail);
    process.on("SIGTERM", () => {
      const all = fs.existsSync(positions) ? JSON.parse(fs.readFileSync(positions)) : {};
      all[file] = tail.unwatch();
      fs.writeFileSync(positions, JSON.stringify(all));
    });
  },
};

for (const file of files) start[name](path.resolve(file));
process.on("SIGTERM", () => setImmediate(() => process.exit(0)));
