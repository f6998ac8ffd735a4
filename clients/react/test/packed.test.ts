// The package as it is published: what is in it, and that both kinds of programs can use it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
let folder: string;
let tarball: string;

function run(command: string, ...options: string[]): string {
  return execFileSync(command, options, { cwd: here, encoding: "utf8", timeout: 120_000 });
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "stepflow-react-"));
  const [packed] = JSON.parse(
    run("npm", "pack", "--json", "--ignore-scripts", "--pack-destination", folder),
  ) as {
    filename: string;
  }[];
  tarball = join(folder, packed?.filename ?? "");
  const modules = join(folder, "node_modules");
  mkdirSync(join(modules, "@stepflow"), { recursive: true });
  execFileSync("tar", ["-xzf", tarball, "-C", folder]);
  symlinkSync(join(folder, "package"), join(modules, "@stepflow/react"));
  symlinkSync(join(here, "../typescript"), join(modules, "@stepflow/client"));
  symlinkSync(join(here, "../node_modules/react"), join(modules, "react"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const NAMES = [
  "StepflowProvider",
  "useNotify",
  "useRun",
  "useRunStream",
  "useSteps",
  "useStepflowClient",
  "useSuspenseRun",
  "useTrigger",
  "useTriggerAndFollow",
].sort();

test.each([
  [
    "an ES module",
    [
      "--input-type=module",
      "-e",
      'import * as all from "@stepflow/react"; console.log(JSON.stringify(Object.keys(all)))',
    ],
  ],
  [
    "a CommonJS module",
    ["--input-type=commonjs", "-e", 'console.log(JSON.stringify(Object.keys(require("@stepflow/react"))))'],
  ],
])("%s finds every name", (_, options) => {
  const found = execFileSync(process.execPath, ["--preserve-symlinks", ...options], {
    cwd: folder,
    encoding: "utf8",
  });
  expect((JSON.parse(found) as string[]).filter((name) => name !== "__esModule").sort()).toEqual(NAMES);
});

test.each(["esm", "cjs"])("the %s entry begins with the mark of client components", (kind) => {
  const entry = readFileSync(join(folder, "package/dist", kind, "index.js"), "utf8");
  expect(entry.split("\n")[0]).toBe('"use client";');
});

const LEAVING = `
  import { FollowedRun } from "./package/dist/esm/followed-run.js";
  const run = { id: "r1", status: "completed", steps: [] };
  const client = { async *streamRun() { yield { type: "run", runId: "r1", run, reset: false }; } };
  const followed = new FollowedRun(client, "r1", "now");
  const leave = followed.watch(() => { leave(); });
  process.on("exit", () => { console.log(followed.view.run.status, followed.isInUse); });
`;

test("a test or a server that is done with a run that has ended does not wait until its connection would be given up", () => {
  const options = ["--preserve-symlinks", "--input-type=module", "-e", LEAVING];

  const told = execFileSync(process.execPath, options, { cwd: folder, encoding: "utf8" });

  expect(told.trim()).toBe("completed true"); // it ended before that
});
