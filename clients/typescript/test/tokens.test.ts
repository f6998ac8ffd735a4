// Tokens: kept while they are valid, dropped when they are not, refreshed once however many ask.

import { describe, expect, test } from "vitest";
import { TokenManager, type TokenStorage } from "../src/index.js";

const T0 = Date.parse("2026-01-31T12:00:00Z");
const SOON = "2026-01-31T12:00:10.000Z";

function mapped(): TokenStorage & { map: Map<string, string> } {
  const map = new Map<string, string>();
  return {
    map,
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => map.set(key, value),
    removeItem: (key) => map.delete(key),
  };
}

describe("a token", () => {
  test("is given for its run, until it expires: then it is dropped", async () => {
    let now = T0;
    const storage = mapped();
    const tokens = new TokenManager({ storage, now: () => now });
    await tokens.set("r1", "pat_1", SOON);

    expect(await tokens.get("r1")).toBe("pat_1");
    expect(await tokens.get("r2")).toBeNull();
    expect([...storage.map.keys()]).toEqual(["stepflow:token:r1"]);
    now = Date.parse(SOON);
    expect(await tokens.get("r1")).toBeNull();
    expect(storage.map.size).toBe(0);
  });

  test("without an expiry is kept", async () => {
    const tokens = new TokenManager({ now: () => T0 });
    await tokens.set("r1", "pat_1");
    expect(await tokens.get("r1")).toBe("pat_1");
    await tokens.delete("r1");
    expect(await tokens.get("r1")).toBeNull();
  });

  test("is refreshed once, however many ask", async () => {
    const asked: string[] = [];
    const refresh = (runId: string) => {
      asked.push(runId);
      return Promise.resolve({ token: `pat_${asked.length}`, expiresAt: SOON });
    };
    let now = T0;
    const tokens = new TokenManager({ refresh, now: () => now });

    expect(await Promise.all([tokens.get("r1"), tokens.get("r1"), tokens.refresh("r1")])).toEqual([
      "pat_1",
      "pat_1",
      "pat_1",
    ]);
    expect(await tokens.get("r1")).toBe("pat_1");
    now = Date.parse(SOON);
    expect(await tokens.get("r1")).toBe("pat_2");
    expect(asked).toEqual(["r1", "r1"]);
  });

  test("that can't be refreshed is told as it is, and asked for again the next time", async () => {
    const answers = [Promise.reject(new Error("offline")), "pat_2"];
    const tokens = new TokenManager({ refresh: () => answers.shift() ?? null });

    await expect(tokens.get("r1")).rejects.toThrow("offline");
    expect(await tokens.get("r1")).toBe("pat_2");
  });

  test("that the server refuses for good is forgotten", async () => {
    const storage = mapped();
    const tokens = new TokenManager({ storage });
    await tokens.set("r1", "pat_1");

    expect(await tokens.refresh("r1")).toBeNull();
    expect(storage.map.size).toBe(0);
  });

  test("that somebody else wrote is as good as none", async () => {
    const storage = mapped();
    storage.map.set("t:r1", "garbage").set("t:r2", '{"token":5}').set("t:r3", "null");
    const tokens = new TokenManager({ storage, prefix: "t:" });

    expect(await Promise.all(["r1", "r2", "r3"].map((id) => tokens.get(id)))).toEqual([null, null, null]);
  });
});

test("memory is swept of what has expired whenever something is added", async () => {
  let now = T0;
  const dropped: string[] = [];
  const tokens = new TokenManager({ now: () => now, refresh: (runId) => (dropped.push(runId), null) });
  for (let run = 0; run < 100; run++) await tokens.set(`r${run}`, "pat", SOON);
  now = Date.parse(SOON);
  await tokens.set("new", "pat", null);
  now = T0; // back in time, they would be valid: but they are gone

  expect(await tokens.get("r0")).toBeNull();
  expect(await tokens.get("new")).toBe("pat");
});
