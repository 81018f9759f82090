// Reads a JSON array of texts and writes what util.parseEnv and the npm package
// dotenv make of each: {"node": [...], "npm": [...]}. What is not there is null.
const fs = require('node:fs')
const util = require('node:util')

const texts = JSON.parse(fs.readFileSync(0, 'utf8'))
const run = (parse) => texts.map((text) => {
  try { return { values: { ...parse(text) } } } catch { return { error: true } }
})
const result = { node: util.parseEnv ? run(util.parseEnv) : null, npm: null }
if (process.argv[2]) result.npm = run(require(process.argv[2]).parse)
process.stdout.write(JSON.stringify(result))
