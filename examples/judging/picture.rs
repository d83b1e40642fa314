//! A picture: how the odds of some lives went, against the line that they must cross.

use std::fmt::Write as _;

use super::{
    dice::Dice,
    families::Family,
    life::{self, Lived},
};

/// The odds that are shown, as powers of ten, and the seconds.
const LOWEST: f64 = -3.0;
const HIGHEST: f64 = 6.0;
const SECONDS: f64 = 660.0;
/// Where the picture is, in pixels.
const LEFT: f64 = 70.0;
const TOP: f64 = 20.0;
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 270.0;
/// The line.
const NEEDED: f64 = 3.0;
const COLOURS: [&str; 6] = ["#2a7", "#c33", "#36c", "#b70", "#83a", "#555"];

/// One life of each family, as SVG.
pub fn draw(families: &[Family], seed: u64) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 330\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"860\" height=\"330\" fill=\"#fff\"/>\n",
    );
    for power in [-3.0, 0.0, 3.0, 6.0] {
        let (y, text) = (down(power), odds(power));
        let line = if power == NEEDED { "#c33\" stroke-dasharray=\"6 4" } else { "#ddd" };
        let _infallible = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.0}h{WIDTH}\" stroke=\"{line}\"/>\n\
             <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{text}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for minute in [0.0, 2.0, 4.0, 6.0, 8.0, 10.0] {
        let (x, y) = (right(minute * 60.0), TOP + HEIGHT + 18.0);
        let _infallible = writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"middle\">{minute} min</text>"
        );
    }
    let mut labels = Vec::new();
    for (family, colour) in families.iter().zip(COLOURS) {
        one(&mut svg, family, colour, seed, &mut labels);
    }
    svg.push_str("</svg>\n");
    svg
}

fn one(svg: &mut String, family: &Family, colour: &str, seed: u64, labels: &mut Vec<(f64, f64)>) {
    let scene = (family.draw)(&mut Dice::new(seed));
    let lived: Lived = life::live(&scene, seed, &life::learn(&scene, seed));
    let mut path = String::new();
    let mut end = (right(0.0), down(0.0));
    let shown = lived.odds.iter().filter(|(t, _)| (0.0..=SECONDS).contains(t));
    for (number, (t, ln_e)) in shown.enumerate() {
        let power = (ln_e / std::f64::consts::LN_10).clamp(LOWEST, HIGHEST);
        end = (right(*t), down(power));
        let step = if number == 0 { 'M' } else { 'L' };
        let _infallible = write!(path, "{step}{:.0} {:.0}", end.0, end.1);
    }
    // No label on another.
    while labels.iter().any(|(x, y)| (x - end.0).abs() < 120.0 && (y - end.1).abs() < 13.0) {
        end.1 += 1.0;
    }
    labels.push(end);
    let undone = lived.undone.map(|at| format!(", undone at {at:.0} s")).unwrap_or_default();
    let _infallible = writeln!(
        svg,
        "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\">{}{undone}</text>",
        end.0 + 5.0,
        end.1 + 4.0,
        family.name
    );
}

fn odds(power: f64) -> &'static str {
    match power.total_cmp(&0.0) {
        std::cmp::Ordering::Less => "1:1000",
        std::cmp::Ordering::Equal => "1:1",
        std::cmp::Ordering::Greater if power > NEEDED => "million:1",
        std::cmp::Ordering::Greater => "1000:1",
    }
}

fn right(seconds: f64) -> f64 {
    LEFT + WIDTH * seconds / SECONDS
}

fn down(power: f64) -> f64 {
    TOP + HEIGHT * (HIGHEST - power) / (HIGHEST - LOWEST)
}
