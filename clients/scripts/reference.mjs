// Writes the API reference of the package in the current directory, API.md, out of its TSDoc; with --check, says whether it is fresh.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const typedoc = join(dirname(createRequire(import.meta.url).resolve("typedoc/package.json")), "bin/typedoc");
const folder = mkdtempSync(join(tmpdir(), "stepflow-reference-"));

try {
  execFileSync(process.execPath, [typedoc, "--out", folder, "--logLevel", "Warn"], { stdio: "inherit" });
  const made = readFileSync(join(folder, "API.md"), "utf8");
  if (!process.argv.includes("--check")) writeFileSync("API.md", made);
  else if (readFileSync("API.md", "utf8") !== made) {
    console.error("API.md does not say what the code says: run `npm run docs` in this package");
    process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}
