// Paths: where the repository's other parts are, and the Python that its tests run on.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

export const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));

export function python(): string {
  const found = process.env["STEPFLOW_PYTHON"] ?? `${ROOT}.venv/bin/python`;
  if (!existsSync(found))
    throw new Error(`no Python at ${found}: make .venv/.installed, or set STEPFLOW_PYTHON`);
  return found;
}
