/** What a compiler printed, and what that means to whoever deploys: the file that is at fault and the command that mends it. */
const rules: readonly (readonly [pattern: RegExp, hint: (found: RegExpExecArray) => string])[] = [
  [/missing go\.sum entry/, () => 'go.sum lacks what go.mod requires. Run "go mod tidy" and deploy again.'],
  [
    /reading https:\/\/proxy\.golang\.org\/(\S+?)\/@v\/\S+: 4\d\d/,
    ([, module = '']) =>
      `go.mod requires ${unescaped(module)}, which proxy.golang.org does not have, as with a private module. Run "go mod vendor" and deploy with the folder vendor.`,
  ],
  [
    /^verifying (\S+?)(\/go\.mod)?: checksum mismatch/m,
    ([, module = '']) =>
      `go.sum has another checksum for ${module} than the module has. Correct go.sum if the change is known, else look into it.`,
  ],
  [
    /go\.mod requires go >= ([\d.]+) \(running go ([\d.]+)/,
    ([, wanted = '', has = '']) =>
      `go.mod asks for Go ${wanted}, the runtime is Go ${has}. Take runtime "go" or a newer line.`,
  ],
  [
    /Cargo\.lock needs to be updated|cannot update the lock file/,
    () => 'Cargo.lock does not fit Cargo.toml. Run "cargo update --workspace" and deploy again.',
  ],
  [
    /checksum for `([^`]+)` changed between lock files/,
    ([, crate = '']) =>
      `Cargo.lock has another checksum for ${crate} than crates.io. Look into it before you change Cargo.lock.`,
  ],
  [
    /Unable to update ((?:https?|ssh|git):\/\/\S+)/,
    ([, url = '']) =>
      `Cargo.toml needs ${url}: builds reach crates.io alone. Run "cargo vendor" and deploy with the folder vendor and .cargo/config.toml.`,
  ],
  [
    /requires rustc ([\d.]+)/,
    ([, version = '']) =>
      `A crate needs Rust ${version} or newer. Take a newer runtime, or have an older crate in Cargo.lock.`,
  ],
]

/** A sentence or two for the error of a build that printed `lines`; null where the compiler's own words say it all. */
export function failureHint(lines: readonly string[]): string | null {
  const text = lines.join('\n')
  for (const [pattern, hint] of rules) {
    const found = pattern.exec(text)
    if (found !== null) return hint(found)
  }
  return null
}

/** The module proxy writes a capital as `!` and its small letter. */
function unescaped(module: string): string {
  return module.replaceAll(/!([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
