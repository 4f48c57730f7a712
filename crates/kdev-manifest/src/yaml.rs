//! A syntax tree of a YAML text, whose nodes have byte positions.
//!
//! Values are read with `serde_yaml`; this tree exists for edits in place. JSON is a subset
//! of YAML 1.2 and is supported, too.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::error::Error;
use crate::parse_error;

/// Maximum nesting depth; Kubernetes' own objects stay below 30.
const DEPTH_LIMIT: usize = 100;
/// Maximum number of nodes, with aliases counted as their targets.
const NODE_LIMIT: usize = 1_000_000;
/// Maximum number of nodes behind aliases: a few hundred bytes could expand to billions.
const ALIASED_LIMIT: usize = 100_000;
/// The key that merges the entries of other mappings.
pub const MERGE_KEY: &str = "<<";

/// A node of the tree.
#[derive(Debug)]
pub struct Node {
    /// Its byte range; for a collection, only the start.
    pub bytes: Range<usize>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 0.
    pub column: usize,
    pub kind: Kind,
    /// Its number of nodes, with aliases counted as their targets.
    weight: usize,
}

/// A key and its value.
pub type Entry = (Rc<Node>, Rc<Node>);

/// The type of a node.
#[derive(Debug)]
pub enum Kind {
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    Mapping(Vec<Entry>),
    Sequence(Vec<Rc<Node>>),
    /// An alias `*name` with its target.
    Alias(Rc<Node>),
}

impl Node {
    /// Returns the node itself, or the target of an alias.
    pub fn target(&self) -> &Self {
        match &self.kind {
            Kind::Alias(node) => node.target(),
            _ => self,
        }
    }

    /// Returns the text of a scalar or of an alias to one.
    pub fn text(&self) -> Option<&str> {
        match &self.target().kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns the entries of a mapping, or of an alias to one, as written.
    pub fn entries(&self) -> &[Entry] {
        match &self.target().kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items of a sequence or of an alias to one.
    pub fn items(&self) -> Option<&[Rc<Self>]> {
        match &self.target().kind {
            Kind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entry with this key in the mapping itself.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|(k, _)| k.text() == Some(key))
    }

    /// Returns the value of this key and the mapping that contains it: this one, or one
    /// that a merge key includes.
    pub fn effective(&self, key: &str) -> Option<(&Self, &Self)> {
        if let Some((_, value)) = self.entry(key) {
            return Some((self.target(), value));
        }
        let (_, merged) = self.entry(MERGE_KEY)?;
        match merged.items() {
            Some(items) => items.iter().find_map(|item| item.effective(key)),
            None => merged.effective(key),
        }
    }

    /// Returns the value of this key, from the mapping itself or a merged one.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.effective(key).map(|(_, value)| value)
    }

    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error { line: self.line, column: self.column + 1, reason: reason.into() }
    }
}

/// Parses all documents of a text.
pub fn documents(text: &str) -> Result<Vec<Rc<Node>>, Error> {
    parse_error::check_size(text)?;
    read(text).map_err(|error| parse_error::explain(text, error))
}

fn read(text: &str) -> Result<Vec<Rc<Node>>, Error> {
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str(text),
        offsets: Offsets::new(text),
        anchors: HashMap::new(),
        nodes: 0,
        aliased: 0,
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (event, span) => documents.push(reader.node(event, span, 0)?),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    offsets: Offsets,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    aliased: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Error> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Error {
                line: error.marker().line(),
                column: error.marker().col() + 1,
                reason: error.info().to_owned(),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Rc<Node>, Error> {
        let bytes = self.offsets.byte(span.start.index())..self.offsets.byte(span.end.index());
        let (line, column) = (span.start.line(), span.start.col());
        let error = |reason: &str| Error { line, column: column + 1, reason: reason.to_owned() };
        if depth > DEPTH_LIMIT {
            return Err(error(&format!("it is nested deeper than {DEPTH_LIMIT} levels")));
        }
        let (mut anchor, mut own) = (0, bytes.clone());
        let kind = match event {
            Event::Scalar(text, style, id, _) => {
                anchor = id;
                own = scalar_bytes(self.text, &bytes, style);
                Kind::Scalar { text: text.into_owned(), style }
            }
            Event::SequenceStart(id, _) => {
                anchor = id;
                Kind::Sequence(self.items(depth)?)
            }
            Event::MappingStart(id, _) => {
                anchor = id;
                own.start = own_start(self.text, bytes.start);
                Kind::Mapping(self.entries(depth)?)
            }
            Event::Alias(id) => {
                let named = self.anchors.get(&id).cloned();
                Kind::Alias(
                    named.ok_or_else(|| error("an alias refers to a node that contains it"))?,
                )
            }
            _ => return Err(error("a value is missing")),
        };
        let weight = weight(&kind);
        let node = Rc::new(Node { bytes: own, line, column, kind, weight });
        self.count(&node)?;
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn count(&mut self, node: &Node) -> Result<(), Error> {
        self.nodes += 1;
        if matches!(node.kind, Kind::Alias(_)) {
            self.aliased = self.aliased.saturating_add(node.weight);
        }
        if self.aliased > ALIASED_LIMIT {
            return Err(
                node.error(format!("its aliases expand to more than {ALIASED_LIMIT} values"))
            );
        }
        if self.nodes > NODE_LIMIT {
            return Err(node.error(format!("it has more than {NODE_LIMIT} values")));
        }
        Ok(())
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Rc<Node>>, Error> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, Error> {
        let (mut entries, mut keys) = (Vec::new(), HashSet::new());
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let Some(text) = key.text() else {
                return Err(key.error("a key must be a string"));
            };
            if !keys.insert(text.to_owned()) {
                return Err(key.error(format!("duplicate key `{text}`")));
            }
            let (event, span) = self.next()?;
            entries.push((key, self.node(event, span, depth + 1)?));
        }
    }
}

fn weight(kind: &Kind) -> usize {
    match kind {
        Kind::Scalar { .. } => 1,
        Kind::Alias(node) => node.weight,
        Kind::Sequence(items) => items.iter().fold(1, |sum, item| item.weight.saturating_add(sum)),
        Kind::Mapping(entries) => entries.iter().fold(1, |sum, (key, value)| {
            sum.saturating_add(key.weight).saturating_add(value.weight)
        }),
    }
}

/// Returns the byte range of a scalar's text without anchor, tag, space and comment.
fn scalar_bytes(text: &str, bytes: &Range<usize>, style: ScalarStyle) -> Range<usize> {
    let start = own_start(&text[..bytes.end], bytes.start);
    start..scalar_end(text, &(start..bytes.end), style)
}

/// Returns the start of a node's own text, after its anchor and tag.
fn own_start(text: &str, start: usize) -> usize {
    let mut rest = &text[start..];
    while rest.starts_with(['&', '!']) {
        let property = rest.find(char::is_whitespace).unwrap_or(rest.len());
        rest = rest[property..].trim_start();
    }
    text.len() - rest.len()
}

/// Returns the end of a scalar. The parser's span of a quoted scalar includes trailing
/// white space and a comment.
fn scalar_end(text: &str, bytes: &Range<usize>, style: ScalarStyle) -> usize {
    let escape = match style {
        ScalarStyle::SingleQuoted => "''",
        ScalarStyle::DoubleQuoted => "\\",
        _ => return bytes.end,
    };
    let quote = if style == ScalarStyle::SingleQuoted { '\'' } else { '"' };
    let mut at = bytes.start + quote.len_utf8();
    while let Some(next) = text[at..].chars().next() {
        if text[at..].starts_with(escape) {
            at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
        } else if next == quote {
            return at + 1;
        } else {
            at += next.len_utf8();
        }
    }
    bytes.end
}

/// Converts the parser's character indices to byte indices.
enum Offsets {
    Ascii,
    Table(Vec<usize>),
}

impl Offsets {
    fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Ascii;
        }
        let ends = std::iter::once(text.len());
        Self::Table(text.char_indices().map(|(byte, _)| byte).chain(ends).collect())
    }

    fn byte(&self, index: usize) -> usize {
        match self {
            Self::Ascii => index,
            Self::Table(table) => table.get(index).or(table.last()).copied().unwrap_or(index),
        }
    }
}
