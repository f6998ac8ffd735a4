// Tokens in a store that allows few letters in its keys, as expo-secure-store does.
import { TokenManager } from "@stepflow/client";
import { secureTokenStorage } from "@stepflow/react-native";

class SecureStore {
  readonly items = new Map<string, string>();

  getItemAsync = async (key: string): Promise<string | null> =>
    Promise.resolve(this.items.get(checked(key)) ?? null);

  setItemAsync = async (key: string, value: string): Promise<void> => {
    this.items.set(checked(key), value);
    return Promise.resolve();
  };

  deleteItemAsync = async (key: string): Promise<void> => {
    this.items.delete(checked(key));
    return Promise.resolve();
  };
}

function checked(key: string): string {
  if (!/^[A-Za-z0-9._-]+$/.test(key)) throw new Error(`the store does not allow the key ${key}`);
  return key;
}

test("tokens are kept in a secure store, each run's under a key of its own", async () => {
  const store = new SecureStore();
  const tokens = new TokenManager({ storage: secureTokenStorage(store) });
  const runs = ["r1", "r_1", "r_5f_1", "r:1", "r@1", "r~1"];
  for (const run of runs) await tokens.set(run, `pat_${run}`);
  for (const run of runs) expect(await tokens.get(run)).toBe(`pat_${run}`);
  expect(store.items.size).toBe(runs.length);

  await tokens.delete("r1");
  expect(await tokens.get("r1")).toBeNull();
  expect(await tokens.get("r_1")).toBe("pat_r_1");
});
