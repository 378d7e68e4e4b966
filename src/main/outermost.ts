/** Folders that lie in no other of them, each once. */
export function outermost(folders: readonly string[]): readonly string[] {
  const unique = [...new Set(folders)]
  return unique.filter((folder) => !unique.some((other) => other !== folder && folder.startsWith(`${other}/`)))
}
