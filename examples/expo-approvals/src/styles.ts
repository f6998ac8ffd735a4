// Styles: how the screens look.
import { StyleSheet } from "react-native";

export const styles = StyleSheet.create({
  screen: { flex: 1, padding: 16, paddingTop: 64 },
  title: { fontSize: 24, fontWeight: "600", marginVertical: 12 },
  row: { paddingVertical: 12, borderBottomWidth: StyleSheet.hairlineWidth, borderColor: "#bbb" },
  text: { fontSize: 17 },
  quiet: { fontSize: 15, color: "#666" },
  trouble: { fontSize: 15, color: "#b00020" },
  buttons: { marginTop: 16, gap: 8 },
});
