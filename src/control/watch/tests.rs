//! What is seen of changed files, and when.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread::{Builder, JoinHandle};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringgate-watch-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn thread(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    Builder::new().spawn(body).expect("a test may have threads")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The silence that `change` asks for, if it is noticed within a generous time.
fn quiet_after(files: &[PathBuf], change: impl FnOnce()) -> Option<u64> {
    run(async {
        let watch = Watch::new().unwrap();
        watch.follow(files);
        let changes = watch.changes();
        // The first follow counts as a change of its own.
        changes.settled().await;
        change();
        let settled = tokio::time::timeout(Duration::from_secs(20), changes.settled()).await;
        settled.is_ok().then(|| changes.quiet_ms.load(Ordering::Relaxed))
    })
}

#[test]
fn a_write_is_noticed_and_is_whole_when_it_is_closed() {
    let folder = Folder::new("write");
    let file = folder.write("gateway.yaml", "a");
    assert_eq!(quiet_after(std::slice::from_ref(&file), || std::fs::write(&file, "b").unwrap()), Some(QUIET_WHOLE_MS));
}

#[test]
fn a_file_that_is_still_being_written_is_waited_for() {
    let folder = Folder::new("open");
    let file = folder.write("gateway.yaml", "a");
    let mut open = None;
    let write = || open = Some(std::fs::File::create(&file).unwrap());
    assert_eq!(quiet_after(std::slice::from_ref(&file), write), Some(QUIET_MS));
}

#[test]
fn a_rename_over_the_file_is_noticed_and_whole() {
    let folder = Folder::new("rename");
    let file = folder.write("gateway.yaml", "a");
    let next = folder.write("next.yaml", "b");
    let rename = || std::fs::rename(&next, &file).unwrap();
    assert_eq!(quiet_after(std::slice::from_ref(&file), rename), Some(QUIET_WHOLE_MS));
}

#[test]
fn a_swapped_link_to_a_directory_is_noticed_and_whole() {
    let folder = Folder::new("swap");
    folder.write("..one/gateway.yaml", "a");
    folder.write("..two/gateway.yaml", "b");
    symlink("..one", folder.0.join("..data")).unwrap();
    let file = folder.0.join("gateway.yaml");
    symlink("..data/gateway.yaml", &file).unwrap();
    let swap = || {
        symlink("..two", folder.0.join("..data_next")).unwrap();
        std::fs::rename(folder.0.join("..data_next"), folder.0.join("..data")).unwrap();
    };
    assert_eq!(quiet_after(&[file], swap), Some(QUIET_WHOLE_MS));
}

#[test]
fn another_file_of_its_kind_may_be_included() {
    let folder = Folder::new("kind");
    let file = folder.write("gateway.yaml", "a");
    assert_eq!(quiet_after(&[file], || drop(folder.write("more.yaml", "a"))), Some(QUIET_MS));
}

#[test]
fn a_directory_in_the_place_of_another_is_watched_when_files_are_followed_again() {
    let folder = Folder::new("replaced");
    let files = [folder.write("inner/gateway.yaml", "a")];
    run(async {
        let watch = Watch::new().unwrap();
        assert!(watch.lookout.follow(&files, false));
        assert!(!watch.lookout.follow(&files, false), "nothing is new");
        std::fs::rename(folder.0.join("inner"), folder.0.join("old")).unwrap();
        folder.write("inner/gateway.yaml", "b");
        // That counts as a change.
        watch.follow(&files);
        let changes = watch.changes();
        changes.settled().await;
        folder.write("inner/gateway.yaml", "c");
        tokio::time::timeout(Duration::from_secs(20), changes.settled()).await.expect("the new one is watched");
        assert_eq!(watch.lookout.field().folders.len(), 1);
    });
}

#[test]
fn other_files_are_followed_and_changes_seen_amid_a_storm_of_events() {
    let folder = Folder::new("storm");
    let files = [folder.write("gateway.yaml", "a"), folder.write("elsewhere/more.yaml", "a")];
    let (is_stormy, gusts) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let storms = ["a.yaml", "b.yaml"].map(|name| {
        let (is_stormy, gusts) = (Arc::clone(&is_stormy), Arc::clone(&gusts));
        let (one, two) = (folder.write(name, ""), folder.0.join(format!("2{name}")));
        thread(move || {
            while is_stormy.load(Ordering::Relaxed) {
                std::fs::rename(&one, &two).unwrap();
                std::fs::rename(&two, &one).unwrap();
                gusts.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let (tell, told) = std::sync::mpsc::channel();
    let _follower = thread(move || {
        run(async {
            let watch = Watch::new().unwrap();
            watch.follow(&files);
            let changes = watch.changes();
            let begun = gusts.load(Ordering::Relaxed);
            while gusts.load(Ordering::Relaxed) < begun + 10_000 {
                changes.next().await;
            }
            for round in 0..200 {
                watch.follow(&files[round % 2..]);
                tokio::task::yield_now().await;
            }
            // The timer has its turn as well.
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        tell.send(()).ok();
    });
    let followed = told.recv_timeout(Duration::from_secs(20));
    is_stormy.store(false, Ordering::Relaxed);
    storms.into_iter().for_each(|storm| storm.join().unwrap());
    assert_eq!(followed, Ok(()), "who follows files is held up");
}

#[test]
fn a_file_that_stands_alone_is_whole_when_it_is_closed_and_what_is_written_beside_it_is_not_told() {
    let folder = Folder::new("alone");
    let file = folder.write("policy.json", "a");
    run(async {
        let watch = Watch::new().unwrap();
        watch.follow_alone(file.clone());
        let mut log = std::fs::File::create(folder.0.join("a.log")).unwrap();
        let mut open = std::fs::File::options().write(true).open(&file).unwrap();
        let is_silent = || matches!(watch.lookout.inotify.get_ref().0.read_events(), Err(Errno::EAGAIN));
        while !is_silent() {}
        log.write_all(b"a line").unwrap();
        open.write_all(b"b").unwrap();
        assert!(is_silent());
        drop(open);
        let field = watch.lookout.field();
        let told = watch.lookout.inotify.get_ref().0.read_events().unwrap();
        assert_eq!(told.iter().map(|event| field.change_of(event)).collect::<Vec<_>>(), [Some(Change::Whole)]);
    });
}

#[test]
fn reading_is_no_change() {
    let all_of_reading = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_CLOSE_NOWRITE;
    assert!(!MASK.intersects(all_of_reading));
}

#[test]
fn lost_events_may_have_been_about_anything_and_those_of_before_are_about_nothing() {
    let folder = Folder::new("lost");
    let file = folder.write("gateway.yaml", "a");
    run(async {
        let watch = Watch::new().unwrap();
        watch.follow(&[file]);
        let field = watch.lookout.field();
        let wd = *field.folders.keys().next().unwrap();
        let event = |mask, name: Option<&str>| InotifyEvent { wd, mask, cookie: 0, name: name.map(Into::into) };
        assert_eq!(field.change_of(&event(AddWatchFlags::IN_Q_OVERFLOW, None)), Some(Change::Part));
        assert_eq!(field.change_of(&event(AddWatchFlags::IN_MOVED_TO, Some("gateway.yaml"))), Some(Change::Whole));
        assert_eq!(field.change_of(&event(AddWatchFlags::IN_DELETE_SELF, None)), Some(Change::Part));
        assert_eq!(Field::default().change_of(&event(AddWatchFlags::IN_MOVED_TO, Some("gateway.yaml"))), None);
    });
}

#[test]
fn a_file_beside_the_configuration_does_not_concern_it() {
    let folder = Folder::new("beside");
    let file = folder.write("gateway.yaml", "a");
    let (log, other) = (folder.write("gateway.log", "a"), folder.write("more.yaml", "a"));
    let link = folder.0.join("..data");
    symlink("elsewhere", &link).unwrap();
    let mut scope = Scope::default();
    scope.follow(std::slice::from_ref(&file), false);
    let told = Told { is_whole: true, is_directory: false };
    let concerns = |scope: &Scope, path: &Path| scope.change_of(path, told).is_some();
    assert!(concerns(&scope, &file) && concerns(&scope, &other));
    assert!(![&log, &link, &folder.0.join("gone")].into_iter().any(|path| concerns(&scope, path)));
    let inner = folder.0.join("inner");
    assert_eq!(scope.change_of(&inner, Told { is_directory: true, ..told }), Some(Change::Part), "it may be included");
    // They may be named by way of a link.
    symlink(&folder.0, folder.0.join("here")).unwrap();
    scope.ignore([folder.0.join("here/more.yaml")]);
    assert!(concerns(&scope, &file) && !concerns(&scope, &other), "its own files are none of it");
    scope.follow(&[file], true);
    scope.ignore([]);
    assert!(!concerns(&scope, &other), "a file that stands alone takes in no other");
}

#[test]
fn what_a_change_is_does_not_depend_on_what_is_there() {
    let folder = Folder::new("unasked");
    let file = folder.0.join("gateway.yaml");
    let place = folder.write("..one/gateway.yaml", "a");
    symlink("..one", folder.0.join("..data")).unwrap();
    symlink("..data/gateway.yaml", &file).unwrap();
    let mut scope = Scope::default();
    scope.follow(std::slice::from_ref(&file), false);
    let names = ["gateway.yaml", "..data", "..one", "..two", "next", "gateway.log"].map(|name| folder.0.join(name));
    let changes = || names.each_ref().map(|name| scope.change_of(name, Told { is_whole: true, is_directory: false }));
    let before = changes();
    assert_eq!(before, [Some(Change::Whole), Some(Change::Whole), None, None, None, None]);
    assert_eq!(scope.change_of(&place, Told::default()), Some(Change::Part));
    std::fs::remove_dir_all(&folder.0).unwrap();
    assert_eq!(changes(), before);
    std::fs::create_dir(&folder.0).unwrap();
    names.iter().for_each(|name| symlink("elsewhere", name).unwrap());
    assert_eq!(changes(), before);
}

#[test]
fn a_link_is_watched_on_both_ends_and_in_between() {
    let folder = Folder::new("ends");
    let target = folder.write("far/gateway.yaml", "a");
    let (link, between) = (folder.0.join("gateway.yaml"), folder.0.join("between/gateway.yaml"));
    std::fs::create_dir(folder.0.join("between")).unwrap();
    symlink(&target, &between).unwrap();
    symlink("between/gateway.yaml", &link).unwrap();
    let directories = |file: PathBuf| {
        let mut scope = Scope::default();
        scope.follow(&[file], false);
        scope.directories()
    };
    let both = [folder.0.clone(), folder.0.join("far"), folder.0.join("between")];
    assert_eq!(directories(link), both.into());
    assert_eq!(directories(PathBuf::from("gateway.yaml")), [std::env::current_dir().unwrap()].into());
}

#[test]
fn another_link_in_the_middle_of_a_chain_is_noticed_and_whole() {
    let folder = Folder::new("chain");
    let [one, two] = ["one", "two"].map(|name| folder.write(&format!("{name}/gateway.yaml"), name));
    let (file, middle) = (folder.0.join("gateway.yaml"), folder.0.join("middle/link"));
    std::fs::create_dir(folder.0.join("middle")).unwrap();
    symlink(&one, &middle).unwrap();
    symlink("middle/link", &file).unwrap();
    let swap = || {
        symlink(&two, folder.0.join("middle/next")).unwrap();
        std::fs::rename(folder.0.join("middle/next"), &middle).unwrap();
    };
    assert_eq!(quiet_after(&[file], swap), Some(QUIET_WHOLE_MS));
}

#[test]
fn a_link_that_led_nowhere_is_followed_once_it_leads_to_a_file() {
    let folder = Folder::new("nowhere");
    symlink("..one", folder.0.join("..data")).unwrap();
    let file = folder.0.join("gateway.yaml");
    symlink("..data/gateway.yaml", &file).unwrap();
    let swap = || {
        folder.write("..two/gateway.yaml", "b");
        symlink("..two", folder.0.join("..data_next")).unwrap();
        std::fs::rename(folder.0.join("..data_next"), folder.0.join("..data")).unwrap();
    };
    assert_eq!(quiet_after(std::slice::from_ref(&file), swap), Some(QUIET_WHOLE_MS));
    std::fs::remove_dir_all(folder.0.join("..two")).unwrap();
    assert_eq!(quiet_after(&[file], || drop(folder.write("..two/gateway.yaml", "c"))), Some(QUIET_MS));
}

#[test]
fn a_directory_that_is_gone_is_seen_when_it_comes_back() {
    let folder = Folder::new("back");
    let files = [folder.write("inner/gateway.yaml", "a")];
    run(async {
        let watch = Watch::new().unwrap();
        let changes = watch.changes();
        watch.follow(&files);
        changes.settled().await;
        let noticed = async |change: &dyn Fn()| {
            change();
            let settled = tokio::time::timeout(Duration::from_secs(20), changes.settled());
            settled.await.expect("it is noticed");
            while watch.lookout.follow(&files, false) {}
        };
        noticed(&|| std::fs::rename(folder.0.join("inner"), folder.0.join("old")).unwrap()).await;
        noticed(&|| std::fs::create_dir(folder.0.join("inner")).unwrap()).await;
        noticed(&|| drop(folder.write("inner/gateway.yaml", "b"))).await;
    });
}
