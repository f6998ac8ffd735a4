// The snippets of the documentation: each TypeScript fence compiles on its own; the README's first one runs against a real server.

import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { complaints } from "./support/compiler.js";
import { PACKAGE, ROOT } from "./support/paths.js";
import { SECRET, Stepflow } from "./support/stepflow.js";

const PAGES = [join(PACKAGE, "README.md"), join(ROOT, "docs/how-to/typescript-client.md")];
const folder = join(PACKAGE, "build/snippets"); // inside the package, so that it finds itself by its name

function snippets(page: string): string[] {
  return [...readFileSync(page, "utf8").matchAll(/^```(?:ts|typescript)\n(.*?)^```$/gms)].map(
    ([, text]) => text ?? "",
  );
}

beforeAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const base = JSON.parse(readFileSync(join(PACKAGE, "../tsconfig.base.json"), "utf8")) as {
  compilerOptions: object;
};
const options = {
  ...base.compilerOptions,
  types: ["node"],
  noUnusedLocals: false,
  noPropertyAccessFromIndexSignature: false,
};

test.each(PAGES)("every snippet of %s compiles", (page) => {
  const found = snippets(page);
  expect(found.length).toBeGreaterThan(1);
  const registers = found.filter((text) => text.includes("declare module"));
  // What one snippet registers holds for its whole project, so such a snippet has one of its own.
  for (const together of [
    found.filter((text) => !registers.includes(text)),
    ...registers.map((text) => [text]),
  ]) {
    const files = together.map((text, index) => [`snippet-${index}.ts`, `${text}\nexport {};\n`] as const);
    const project = join(folder, `${PAGES.indexOf(page)}-${registers.indexOf(together[0] ?? "")}`);
    expect(complaints(project, Object.fromEntries(files), options)).toBe("");
  }
});

test("the README's example runs", async () => {
  await using server = await new Stepflow().start();
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "example.mjs");
  writeFileSync(file, snippets(PAGES[0] ?? "")[0] ?? ""); // it needs no types, so it is JavaScript as it stands

  const { stdout } = await promisify(execFile)(process.execPath, [file], {
    env: { ...process.env, STEPFLOW_URL: server.url, STEPFLOW_API_KEY: SECRET },
  });

  expect(stdout).toBe("note 42\ntotal 42\n");
});
