// The office: our server, and what the app keeps on the phone for it. Made once, outside of components.
import AsyncStorage from "@react-native-async-storage/async-storage";
import NetInfo from "@react-native-community/netinfo";
import * as SecureStore from "expo-secure-store";
import { TokenManager } from "@stepflow/client";
import { createNativeClient, OfflineQueue, Reachability, secureTokenStorage } from "@stepflow/react-native";

/** Where the phone finds `office.py`: `EXPO_PUBLIC_SERVER=http://192.168.0.2:8000 npx expo start`. */
const SERVER = process.env.EXPO_PUBLIC_SERVER ?? "http://localhost:8000";

export interface Approval {
  run: string;
  expense: { id: string; employee: string; purpose: string; amount: number };
  token: string;
}

async function ask<Answer>(path: string, method = "GET"): Promise<Answer> {
  const response = await fetch(SERVER + path, { method });
  if (!response.ok) throw new Error(`the office answered ${response.status} to ${path}`);
  return (await response.json()) as Answer;
}

const tokens = new TokenManager({
  storage: secureTokenStorage(SecureStore),
  refresh: (runId) => ask<string>(`/approvals/${runId}/token`, "POST"),
});
export const reachability = new Reachability({ network: NetInfo });
export const client = createNativeClient({ baseUrl: `${SERVER}/stepflow`, tokens, reachability });
export const queue = new OfflineQueue({ client, storage: AsyncStorage, reachability });

/** What waits for a decision. The right to look at each run, and to decide on it, is kept on the phone. */
export async function approvals(): Promise<Approval[]> {
  const found = await ask<Approval[]>("/approvals");
  for (const { run, token } of found) await tokens.set(run, token);
  return found;
}
