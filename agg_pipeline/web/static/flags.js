// Flags are kept in this browser, by database.

// The end of a path that no other of the paths has, at least two names long.
function ending(path, paths) {
  const names = path.split("/").filter(Boolean);
  const others = paths.filter((other) => other !== path);
  for (let count = 2; count < names.length; count += 1) {
    const end = names.slice(-count).join("/");
    if (!others.some((other) => other.endsWith(`/${end}`))) return end;
  }
  return names.join("/");
}

export class Flags {
  // `box` gets a button for each database, which exports its flags.
  constructor(databases, box) {
    Object.assign(this, { databases: [...new Set(databases)], box });
    this.#show();
  }

  has(database, mask) {
    return this.#of(database).has(mask);
  }

  toggle(database, mask) {
    const flags = this.#of(database);
    if (!flags.delete(mask)) flags.add(mask);
    localStorage.setItem(this.#key(database), JSON.stringify([...flags]));
    this.#show();
  }

  #key(database) {
    return `agg-flags:${database}`;
  }

  #of(database) {
    return new Set(JSON.parse(localStorage.getItem(this.#key(database)) ?? "[]"));
  }

  #show() {
    const several = this.databases.length > 1;
    this.box.replaceChildren(...this.databases.map((database) => {
      const count = this.#of(database).size;
      const whose = several ? ` of ${ending(database, this.databases)}` : "";
      const button = Object.assign(document.createElement("button"), {
        type: "button", className: "export", disabled: count === 0, textContent: `Export flags${whose} (${count})`,
      });
      button.addEventListener("click", () => this.#export(database));
      return button;
    }));
  }

  #export(database) {
    const lines = [...this.#of(database)].sort().map((mask) => `${mask}\n`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(lines, { type: "text/plain" }));
    link.download = `flagged-masks-${ending(database, this.databases).replace(/[^\p{L}\p{N}._-]+/gu, "-")}.txt`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
}
