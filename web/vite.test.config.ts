// Turns test/*.test.ts into modules that Node's own test runner reads: `npm test`.
import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

export default defineConfig({
  publicDir: false,
  // Node's runner passes over what lies in node_modules, and elsewhere packages are not found: bundle them.
  ssr: { noExternal: true },
  build: {
    ssr: true,
    outDir: "../build/web-tests",
    emptyOutDir: true,
    target: "node20",
    sourcemap: "inline",
    rolldownOptions: {
      input: readdirSync("test")
        .filter((name) => name.endsWith(".test.ts"))
        .map((name) => `test/${name}`),
    },
  },
});
