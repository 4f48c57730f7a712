//! Where things stand in a YAML text: a tree whose nodes know their bytes.
//!
//! Values are read with `serde_yaml`; this tree exists only so that a text
//! can be edited in place. YAML 1.2 takes JSON in, so it reads that, too.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// How deep a document may nest; Kubernetes' own objects stay under 30.
const DEPTH_LIMIT: usize = 100;

/// A node of the tree.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its bytes: of a collection, only where it begins.
    pub(crate) bytes: Range<usize>,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 0.
    pub(crate) column: usize,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    Mapping(Vec<(Node, Node)>),
    Sequence(Vec<Node>),
    /// `*name`, with the text of its anchor where that is a scalar.
    Alias(Option<String>),
}

/// Why and where a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
    pub(crate) reason: String,
}

impl Node {
    /// The text of a scalar or of an alias to one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::Alias(text) => text.as_deref(),
            _ => None,
        }
    }

    /// The entry of a mapping with this key.
    pub(crate) fn entry(&self, key: &str) -> Option<&(Node, Node)> {
        match &self.kind {
            Kind::Mapping(entries) => entries.iter().find(|(k, _)| k.text() == Some(key)),
            _ => None,
        }
    }

    pub(crate) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault { line: self.line, column: self.column + 1, reason: reason.into() }
    }
}

/// Reads all documents of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str(text),
        offsets: Offsets::of(text),
        anchors: HashMap::new(),
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
    anchors: HashMap<usize, String>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Fault {
                line: error.marker().line(),
                column: error.marker().col() + 1,
                reason: error.info().to_owned(),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let mut node = Node {
            bytes: self.offsets.byte(span.start.index())..self.offsets.byte(span.end.index()),
            line: span.start.line(),
            column: span.start.col(),
            kind: Kind::Alias(None),
        };
        if depth > DEPTH_LIMIT {
            return Err(node.fault(format!("it nests deeper than {DEPTH_LIMIT} levels")));
        }
        node.kind = match event {
            Event::Scalar(text, style, anchor, _) => {
                node.bytes.start = scalar_start(self.text, &node.bytes);
                node.bytes.end = scalar_end(self.text, &node.bytes, style);
                self.scalar(&text, style, anchor)
            }
            Event::SequenceStart(..) => Kind::Sequence(self.items(depth)?),
            Event::MappingStart(..) => Kind::Mapping(self.entries(depth)?),
            Event::Alias(anchor) => Kind::Alias(self.anchors.get(&anchor).cloned()),
            _ => return Err(node.fault("a value is missing")),
        };
        Ok(node)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize) -> Kind {
        if anchor > 0 {
            self.anchors.insert(anchor, text.to_owned());
        }
        Kind::Scalar { text: text.to_owned(), style }
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, Fault> {
        let mut entries = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (event, span) => self.node(event, span, depth + 1)?,
            };
            if key.text().is_none() {
                return Err(
                    key.fault("a key must be a text; templates (`{{ }}`) must be rendered first")
                );
            }
            let (event, span) = self.next()?;
            entries.push((key, self.node(event, span, depth + 1)?));
        }
    }
}

/// Where a scalar's own text begins: behind its anchor and its tag.
fn scalar_start(text: &str, bytes: &Range<usize>) -> usize {
    let mut rest = &text[bytes.clone()];
    while rest.starts_with(['&', '!']) {
        let property = rest.find(char::is_whitespace).unwrap_or(rest.len());
        rest = rest[property..].trim_start();
    }
    bytes.end - rest.len()
}

/// Where a scalar really ends: behind a quoted one the parser's span also
/// takes in white space and a comment.
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

/// From the parser's character indices to byte indices.
enum Offsets {
    Ascii,
    Table(Vec<usize>),
}

impl Offsets {
    fn of(text: &str) -> Self {
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
