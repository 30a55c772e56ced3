//! The table of `docs/answers.md`, as a program reads it.

use upstream_double::forms::Kind;

const TABLE: &str = include_str!("../../../docs/answers.md");

/// What the client gets, what is billed, and what it shows of the model.
pub type Cells = [String; 3];

/// One form's row.
#[derive(Debug, Clone)]
pub struct Row {
    pub form: String,
    pub whole: Option<Cells>,
    pub streamed: Option<Cells>,
}

/// The rows under a kind's heading.
pub fn rows(kind: Kind) -> Vec<Row> {
    let heading = match kind {
        Kind::WholeOrCut => "## Whole or cut",
        Kind::Content => "## Content",
        Kind::NoChoices => "## Events without choices",
        Kind::End => "## The end",
        Kind::Framing => "## Framing",
        Kind::Usage => "## Usage",
        Kind::Errors => "## Errors in any dress",
        Kind::Classes => "## Classes",
        Kind::Failures => "## What failures cost",
    };
    let lines = TABLE.lines().skip_while(|line| *line != heading).skip(1);
    let rows: Vec<Row> = lines.take_while(|line| !line.starts_with("## ")).filter_map(row).collect();
    assert!(rows.len() >= 10, "{heading} has {} rows", rows.len());
    rows
}

impl Row {
    /// The row of a form; one that is cut has mostly none of its own, but shares the one that speaks of all of them.
    pub fn of(form: &str, rows: &[Self]) -> Option<Self> {
        let find = |name: &str| rows.iter().find(|row| row.form == name).cloned();
        if let Some(own) = find(form) {
            return Some(own);
        }
        let (base, mut shared) = (find(form.strip_suffix("-cut")?)?, find("…-cut")?);
        for (cells, of_base) in [(&mut shared.whole, base.whole), (&mut shared.streamed, base.streamed)] {
            if let (Some([_, billed, _]), Some([_, of_base, _])) = (cells, of_base)
                && billed == "the same"
            {
                *billed = of_base;
            }
        }
        Some(shared)
    }
}

/// A line that begins with a form's name.
fn row(line: &str) -> Option<Row> {
    let cells = line.strip_prefix("| `")?.strip_suffix('|').expect("a row ends with a bar");
    let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
    let [form, _comes, whole @ .., a, b, c] = &cells[..] else { panic!("{line}") };
    let [w, x, y] = whole else { panic!("eight cells: {line}") };
    let cells = |cells: [&&str; 3]| (*cells[0] != "–").then(|| cells.map(|cell| (*cell).to_owned()));
    let form = form.strip_suffix('`').expect("a name stands between backticks").to_owned();
    Some(Row { form, whole: cells([w, x, y]), streamed: cells([a, b, c]) })
}

/// Whether this is an answer of the model's that a client takes for a whole one.
pub fn is_answer(client: &str) -> bool {
    client.starts_with("as it came") || ["written anew", "put together"].contains(&client)
}
