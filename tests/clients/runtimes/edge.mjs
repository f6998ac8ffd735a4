// The tour in the sandbox of Vercel's edge functions, where there is nothing of Node: node edge.mjs SCRIPT SETTINGS; prints the facts.

import { readFileSync } from "node:fs";
import { EdgeVM } from "@edge-runtime/vm";

const [, , script, settings] = process.argv;
const vm = new EdgeVM();
vm.evaluate(readFileSync(script, "utf8"));
console.log(await vm.evaluate(`program.tour(${settings}).then(JSON.stringify)`));
