// Prints what a page pays for a package, bundled, minified and gzipped, and fails if that is over its budget.
// Usage: node size.mjs LIMIT [EXTERNAL…], in the package's directory.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const [limit, ...external] = process.argv.slice(2);
const { name, module } = JSON.parse(readFileSync("package.json", "utf8"));
const { outputFiles } = await build({
  entryPoints: [module],
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  external,
});
const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
console.log(`${name}: ${size} bytes gzipped, of ${limit}`);
if (size > Number(limit)) {
  console.error(`${name} is over its size budget: make it smaller, or give a reason and raise the budget`);
  process.exit(1);
}
