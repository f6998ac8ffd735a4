// Builds the package in the current directory twice, as ES modules and as CommonJS, each with its types.
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const compiler = createRequire(import.meta.url).resolve("typescript/bin/tsc");

function compile(...options) {
  execFileSync(process.execPath, [compiler, "-p", "tsconfig.build.json", ...options], { stdio: "inherit" });
}

rmSync("dist", { recursive: true, force: true });
compile("--outDir", "dist/esm");
// Sources are written as ES modules ("verbatim"), which a CommonJS build has to rewrite.
compile(
  "--outDir",
  "dist/cjs",
  "--module",
  "CommonJS",
  "--moduleResolution",
  "Node10",
  "--verbatimModuleSyntax",
  "false",
);
// What a .js file is, Node reads from the nearest package.json.
writeFileSync("dist/esm/package.json", '{ "type": "module", "sideEffects": false }\n');
writeFileSync("dist/cjs/package.json", '{ "type": "commonjs", "sideEffects": false }\n');
