// The tour as a program of Node, Bun or Deno: PROGRAM SETTINGS; prints the facts.

import { tour } from "./tour.mjs";

const [settings] = globalThis.Deno?.args ?? process.argv.slice(2);
console.log(JSON.stringify(await tour(JSON.parse(settings))));
