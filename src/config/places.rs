//! Where each key of a file stands, for those who ask which file says so.

use std::{collections::BTreeMap, path::Path};

use toml_edit::{ImDocument, Item, TableLike};

use super::{files, reader::File};

/// Lines by key: `watch.bake`, `use`; of a `[[threshold]]` by its name: `threshold "5xx"`;
/// of a `[[freeze]]` by its number, from 1: `freeze 2`.
pub type Lines = BTreeMap<String, usize>;

/// The lines of a file that was read before; empty, should it have vanished or changed into what is
/// no TOML.
pub fn lines(path: &Path) -> Lines {
    let Ok(bytes) = files::read(path) else { return Lines::new() };
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = Lines::new();
    if let Ok(document) = ImDocument::parse(text) {
        note(&File::new(String::new(), text), document.as_table(), "", &mut lines);
    }
    lines
}

fn note(file: &File<'_>, table: &dyn TableLike, prefix: &str, lines: &mut Lines) {
    for (key, item) in table.iter() {
        let named = table.key(key).and_then(toml_edit::Key::span);
        let path = format!("{prefix}{key}");
        if let Some(span) = named.or_else(|| item.span()) {
            lines.insert(path.clone(), file.line(span.start));
        }
        match item {
            Item::Table(table) => note(file, table, &format!("{path}."), lines),
            Item::ArrayOfTables(tables) => {
                for (number, one) in tables.iter().enumerate() {
                    let name = one.get("name").and_then(Item::as_str);
                    let name = name.map_or((number + 1).to_string(), |name| format!("{name:?}"));
                    if let Some(span) = one.span() {
                        lines.insert(format!("{path} {name}"), file.line(span.start));
                    }
                }
            }
            Item::None | Item::Value(_) => {}
        }
    }
}
