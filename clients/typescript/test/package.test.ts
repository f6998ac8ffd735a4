// The package as it is published: packed, installed in a project of its own, and used as ES module, as CommonJS, by a bundler and a compiler.

import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { complaints } from "./support/compiler.js";
import { entry, step } from "./support/journal.js";
import { PACKAGE } from "./support/paths.js";
import { answerJson, beginStream, ScriptedServer, written } from "./support/server.js";

const run = promisify(execFile);

const PROGRAM = `
const client = new StepflowClient({ baseUrl: process.argv[2], apiKey: "sf_1" });
(async () => {
  for await (const event of client.stream("order", { id: "a1" })) console.log(event.type);
  await client.getRun("r2").catch((error) => console.log(error instanceof RunNotFoundError, error.runId));
})();
`;
const IMPORT = 'import { StepflowClient, RunNotFoundError } from "@stepflow/client";';
const REQUIRE = 'const { StepflowClient, RunNotFoundError } = require("@stepflow/client");';

let folder: string;
let server: ScriptedServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "stepflow-package-"));
  execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], {
    cwd: PACKAGE,
    stdio: "pipe",
  });
  const [tarball = ""] = readdirSync(folder);
  writeFileSync(join(folder, "package.json"), '{ "private": true }');
  const install = ["install", "--offline", "--no-audit", "--no-fund", `./${tarball}`];
  execFileSync("npm", install, { cwd: folder, stdio: "pipe" });
  server = await ScriptedServer.start(({ method, path }, response) => {
    if (method === "POST") answerJson(response, { runId: "r1", publicAccessToken: null, created: true });
    else if (path === "/runs/r2") answerJson(response, { type: "run-not-found", runId: "r2" }, 404);
    else {
      beginStream(response);
      for (const { event, data, id } of [step("a", "1.0"), entry("execution:complete", "1.1", { data: 1 })]) {
        response.write(written(event, data, id));
      }
    }
  });
}, 60_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

async function said(file: string): Promise<string[]> {
  const { stdout } = await run(process.execPath, [join(folder, file), server.url]);
  return stdout.trim().split("\n");
}

const EXPECTED = ["step:complete", "execution:complete", "true r2"];

test("works as an ES module", async () => {
  writeFileSync(join(folder, "program.mjs"), IMPORT + PROGRAM);
  expect(await said("program.mjs")).toEqual(EXPECTED);
});

test("works as CommonJS", async () => {
  writeFileSync(join(folder, "program.cjs"), REQUIRE + PROGRAM);
  expect(await said("program.cjs")).toEqual(EXPECTED);
});

test("works from a bundle for browsers, which leaves out what is not used", async () => {
  writeFileSync(join(folder, "entry.js"), IMPORT + PROGRAM);
  writeFileSync(join(folder, "unused.js"), 'import "@stepflow/client";');
  const options = { bundle: true, platform: "browser", format: "esm", logLevel: "silent" } as const;
  await build({ ...options, entryPoints: [join(folder, "entry.js")], outfile: join(folder, "bundle.mjs") });
  await build({ ...options, entryPoints: [join(folder, "unused.js")], outfile: join(folder, "unused.mjs") });
  expect(await said("bundle.mjs")).toEqual(EXPECTED);
  expect(readFileSync(join(folder, "unused.mjs"), "utf8").trim()).toBe("");
});

test.each([
  ["NodeNext", "NodeNext", "registered", [".mts", ".cts"]],
  ["ESNext", "Bundler", "registered", [".ts"]],
  ["ESNext", "Bundler", "unregistered", [".ts"]],
])(
  "has types that a strict compiler takes: %s, found as %s does, %s",
  (module, moduleResolution, name, endings) => {
    const program = readFileSync(join(PACKAGE, `test/types/${name}.ts`), "utf8");
    const lib = ["ES2022", "DOM", "DOM.AsyncIterable"];
    const options = { strict: true, exactOptionalPropertyTypes: true, target: "ES2022", lib, types: [] };
    const programs = Object.fromEntries(endings.map((ending) => [name + ending, program]));
    expect(complaints(folder, programs, { ...options, module, moduleResolution })).toBe("");
  },
);
