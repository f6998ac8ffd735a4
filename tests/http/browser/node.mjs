// Reads a run's stream with npm's `eventsource` to its end, whatever happens to the connection; prints what arrived, a line each.
// node node.mjs URL

import { EventSource } from "eventsource";
import { follow } from "./follow.mjs";

const address = process.argv[2];
const told = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
await follow(EventSource, address, told);
