// Loads the clients from the folder that install.sh filled (WEIRTEST_NODE_DIR), not from beside this file: checkouts share it.

import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const folder = process.env.WEIRTEST_NODE_DIR || join(process.env.WEIR_CACHE || join(homedir(), '.cache/weir'), 'node')

/** `require` that finds the installed packages. */
export const require = createRequire(pathToFileURL(join(folder, 'package.json')))

export function versionOf (name) {
  return require(join(folder, 'node_modules', name, 'package.json')).version
}
