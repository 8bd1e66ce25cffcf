#!/usr/bin/env node
// Says its version only if it is built whole and has what it needs.
import { readFileSync } from "node:fs";
import ms from "ms";

const read = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const { version } = JSON.parse(read("./package.json"));
console.log(`OpenClaw ${version} (${read("./dist/built.txt")}, ${read("./dist/ui.txt")}, ${ms(1000)})`);
