// Reads a JSON array of texts and writes what util.parseEnv and the npm package
// dotenv make of each: {"node": [...], "npm": [...]}. What is not there is null.
const fs = require('node:fs')
const util = require('node:util')

const texts = JSON.parse(fs.readFileSync(0, 'utf8'))
const run = (parse) => texts.map((text) => {
  try { return { values: { ...parse(text) } } } catch { return { error: true } }
})
process.stdout.write(JSON.stringify({
  node: util.parseEnv ? run(util.parseEnv) : null,
  npm: run(require('dotenv').parse)
}))
