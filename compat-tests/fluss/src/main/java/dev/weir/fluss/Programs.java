package dev.weir.fluss;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** How the JVMs of the bench are started: pinned, with one of Fluss's two jars each, logging into the temporary folder. */
final class Programs {
    private final Path cache = Path.of(System.getProperty("weir.cache"));
    private final Path here = Path.of(System.getProperty("weir.here"));
    final Path folder;

    Programs(Path folder) {
        this.folder = folder;
    }

    /** A JVM; `side` is `server` or `client`. Its standard error goes to NAME.log, its standard output too unless it is `piped`. */
    Process start(String name, String side, String cpu, List<String> jvm, List<String> words, boolean piped) throws IOException {
        List<String> command = new ArrayList<>(List.of("taskset", "-c", cpu, "java"));
        command.addAll(jvm);
        // Arrow reads buffers outside of the heap through java.nio.
        command.add("--add-opens=java.base/java.nio=ALL-UNNAMED");
        command.add("-Dlog4j2.configurationFile=file:" + here.resolve("log4j2.properties"));
        command.add("-Djava.io.tmpdir=" + Files.createDirectories(folder.resolve("tmp")));
        command.addAll(List.of("-cp", classes(side)));
        command.addAll(words);
        File log = folder.resolve(name + ".log").toFile();
        ProcessBuilder builder = new ProcessBuilder(command).directory(folder.toFile());
        builder.redirectError(ProcessBuilder.Redirect.appendTo(log));
        builder.redirectInput(ProcessBuilder.Redirect.from(new File("/dev/null")));
        if (!piped) {
            builder.redirectOutput(ProcessBuilder.Redirect.appendTo(log));
        }
        return builder.start();
    }

    private String classes(String side) throws IOException {
        String other = side.equals("server") ? "fluss-client-" : "fluss-server-";
        List<String> parts = new ArrayList<>(List.of(cache.resolve("classes").toString()));
        try (Stream<Path> jars = Files.list(cache.resolve("lib"))) {
            jars.filter(jar -> !jar.getFileName().toString().startsWith(other)).sorted().forEach(jar -> parts.add(jar.toString()));
        }
        return String.join(":", parts);
    }
}
