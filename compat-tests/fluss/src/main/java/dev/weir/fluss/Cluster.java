package dev.weir.fluss;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** ZooKeeper, a coordinator and a tablet server, each a process of its own on the loopback interface. Stopped when closed. */
final class Cluster implements AutoCloseable {
    private static final long START_SECONDS = 60;
    private static final int STOP_SECONDS = 20;

    private final Programs programs;
    private final String cpu;
    private final Map<String, Process> started = new LinkedHashMap<>();
    private final int coordinatorPort;
    private boolean closed;

    Cluster(Programs programs, String cpu) throws IOException {
        this.programs = programs;
        this.cpu = cpu;
        coordinatorPort = freePort();
    }

    /** In this order: each needs the one before it. What was started by a start that fails is stopped by {@link #close}. */
    void start() throws IOException, InterruptedException {
        int port = freePort();
        startZookeeper(port);
        startServer("coordinator", "coordinator.CoordinatorServer", coordinatorPort, port);
        startServer("tablet", "tablet.TabletServer", freePort(), port);
    }

    String bootstrap() {
        return "127.0.0.1:" + coordinatorPort;
    }

    /** By name, in the order of their start. */
    Map<String, Process> processes() {
        return new LinkedHashMap<>(started);
    }

    String pids() {
        return started.values().stream().map(process -> Long.toString(process.pid())).collect(Collectors.joining(","));
    }

    /** Bytes of the tablet server's log segments. */
    long logBytes() throws IOException {
        try (Stream<Path> files = Files.walk(in("data"))) {
            long bytes = 0;
            for (Path file : files.filter(path -> path.toString().endsWith(".log")).collect(Collectors.toList())) {
                bytes += Files.size(file);
            }
            return bytes;
        }
    }

    private Path in(String name) {
        return programs.folder.resolve(name);
    }

    private void startZookeeper(int port) throws IOException, InterruptedException {
        Path config = in("zookeeper.properties");
        Files.writeString(config, """
                tickTime=2000
                dataDir=%s
                clientPort=%d
                clientPortAddress=127.0.0.1
                admin.enableServer=false
                """.formatted(in("zookeeper"), port));
        String main = "org.apache.fluss.shaded.zookeeper3.org.apache.zookeeper.server.ZooKeeperServerMain";
        start("zookeeper", List.of("-Xmx256m"), List.of(main, config.toString()), port);
    }

    private void startServer(String name, String main, int port, int zookeeperPort) throws IOException, InterruptedException {
        Path folder = Files.createDirectories(in("conf-" + name));
        Files.writeString(folder.resolve("server.yaml"), """
                zookeeper.address: 127.0.0.1:%d
                bind.listeners: FLUSS://127.0.0.1:%d
                tablet-server.id: 0
                data.dir: %s
                remote.data.dir: %s
                server.io.tmpdir: %s
                """.formatted(zookeeperPort, port, in("data"), in("remote"), in("tmp")));
        List<String> words = List.of("org.apache.fluss.server." + main, "--configDir", folder.toString());
        start(name, List.of("-Xmx1g"), words, port);
    }

    /** Starts a program and waits until it listens. */
    private void start(String name, List<String> jvm, List<String> words, int port) throws IOException, InterruptedException {
        Process process;
        synchronized (started) {
            if (closed) {
                throw new IOException("interrupted before the start of " + name);
            }
            process = programs.start(name, "server", cpu, jvm, words, false);
            started.put(name, process);
        }
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(START_SECONDS);
        while (!listens(port)) {
            if (!process.isAlive() || System.nanoTime() > until) {
                throw new IOException(name + " does not listen on port " + port + (process.isAlive() ? "" : ": it has ended"));
            }
            Thread.sleep(100);
        }
    }

    private static boolean listens(int port) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 1_000);
            return true;
        } catch (IOException e) {
            return false;
        }
    }

    /** A port that was free a moment ago. */
    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    @Override
    public void close() {
        List<Process> newestFirst;
        synchronized (started) {
            closed = true;
            newestFirst = new ArrayList<>(started.values());
        }
        Collections.reverse(newestFirst);
        for (Process process : newestFirst) {
            process.destroy();
            try {
                if (!process.waitFor(STOP_SECONDS, TimeUnit.SECONDS)) {
                    process.destroyForcibly().waitFor();
                }
            } catch (InterruptedException e) {
                process.destroyForcibly();
                Thread.currentThread().interrupt();
            }
        }
    }
}
