// Around every test: what React complains of fails it, and what was rendered is taken away.
import { afterEach, beforeEach, expect, vi, type MockInstance } from "vitest";
import { LONGEST } from "./eventually.js";

if ("document" in globalThis) {
  (await import("@testing-library/react")).configure({ asyncUtilTimeout: LONGEST });
}

let complaints: MockInstance<typeof console.error>;

beforeEach(() => {
  complaints = vi.spyOn(console, "error").mockImplementation(() => undefined);
});

afterEach(async () => {
  const said = complaints.mock.calls.map((call) => call.map(String).join(" "));
  complaints.mockRestore();
  if ("document" in globalThis) (await import("@testing-library/react")).cleanup();
  expect(said, "console.error").toEqual([]);
});
