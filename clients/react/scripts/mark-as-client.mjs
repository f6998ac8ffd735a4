// Puts "use client" first in the package's entries: the compiler writes its own lines before it, or comments.
import { readFileSync, writeFileSync } from "node:fs";

for (const entry of ["dist/esm/index.js", "dist/cjs/index.js"]) {
  const built = readFileSync(entry, "utf8").replace(/^"use client";\r?\n/m, "");
  writeFileSync(entry, `"use client";\n${built}`);
}
