//! A terminal that shows a gateway at work, and is as it was when that ends.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep};

use super::super::Error;
use super::super::admin::Site;
use super::sample::Sample;
use super::{PAUSE, frame, look};

/// Pause between two looks at the keyboard.
const KEYS: Duration = Duration::from_millis(50);

/// A look that is under way.
type Looking<'a> = Pin<Box<dyn Future<Output = Result<Sample, Error>> + 'a>>;

/// The terminal while it is ours.
struct Screen;

impl Screen {
    fn take() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on it is given back whatever happens.
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Shows lines, cut to the size that the terminal has now.
    fn draw(&self, lines: &[String]) -> io::Result<()> {
        let (columns, rows) = terminal::size()?;
        let mut out = io::stdout().lock();
        queue!(out, MoveTo(0, 0))?;
        for (row, line) in (0..rows).zip(lines) {
            let cut: String = line.chars().take(usize::from(columns)).collect();
            queue!(out, MoveTo(0, row), Print(cut), Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        drop(execute!(io::stdout(), LeaveAlternateScreen, Show));
        drop(terminal::disable_raw_mode());
    }
}

/// Shows the gateway until somebody has seen enough.
pub(super) async fn show(site: &Site) -> Result<(), Error> {
    let refused = |error: io::Error| Error::Runtime(format!("terminal: {error}"));
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [mut interrupt, mut terminate, mut hangup] = {
        let mut signals = Vec::new();
        for kind in kinds {
            signals.push(signal(kind).map_err(refused)?);
        }
        <[_; 3]>::try_from(signals).expect("three kinds, three signals")
    };
    let screen = Screen::take().map_err(refused)?;
    let mut keys = interval(KEYS);
    let (mut last, mut lines): (Option<Sample>, _) = (None, vec![format!("asking {site}")]);
    let mut looking: Looking<'_> = Box::pin(look(site));
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            looked = &mut looking => {
                match looked {
                    Ok(sample) => {
                        lines = frame(last.as_ref().unwrap_or(&sample), &sample);
                        last = Some(sample);
                    }
                    Err(error) => away(&mut lines, &error),
                }
                screen.draw(&lines).map_err(refused)?;
                looking = Box::pin(async { sleep(PAUSE).await; look(site).await });
            }
            _ = keys.tick() => {
                while event::poll(Duration::ZERO).map_err(refused)? {
                    let event = event::read().map_err(refused)?;
                    if event.as_key_press_event().is_some_and(ends) {
                        return Ok(());
                    }
                    if matches!(event, Event::Resize(..)) {
                        screen.draw(&lines).map_err(refused)?;
                    }
                }
            }
        }
    }
}

/// Is it the key that ends it?
fn ends(key: KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

/// What was seen last stays, under what is wrong.
fn away(lines: &mut Vec<String>, error: &Error) {
    let (Error::Runtime(why) | Error::Usage(why) | Error::Config(why)) = error;
    let told = format!("AWAY      {}; trying again", why.replace(char::is_control, " "));
    match lines.first_mut() {
        Some(first) if first.starts_with("AWAY") => *first = told,
        _ => lines.insert(0, told),
    }
}
