// Compiler: TypeScript as a user runs it, on a project of its own.

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const COMPILER = createRequire(import.meta.url).resolve("typescript/bin/tsc");

/** What the compiler has against these files of a folder: "" if nothing. */
export function complaints(folder: string, files: Record<string, string>, compilerOptions: object): string {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const config = { compilerOptions: { noEmit: true, ...compilerOptions }, files: Object.keys(files) };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  return spawnSync(process.execPath, [COMPILER, "-p", folder], { encoding: "utf8" }).stdout;
}
