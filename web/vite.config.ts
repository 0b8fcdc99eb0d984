import { defineConfig } from "vite";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/zedi/web",
    emptyOutDir: true,
    target: "es2022",
    // Its polyfill serves browsers older than the target.
    modulePreload: { polyfill: false },
    // A data: address would need its own line in the content security policy.
    assetsInlineLimit: 0,
    // The editor is one chunk on purpose: nothing of it is of use without the rest.
    chunkSizeWarningLimit: 600,
  },
});
