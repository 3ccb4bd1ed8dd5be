package dev.weir.paimon;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.UUID;
import org.apache.paimon.append.AppendCompactCoordinator;
import org.apache.paimon.append.AppendCompactTask;
import org.apache.paimon.catalog.Catalog;
import org.apache.paimon.catalog.CatalogContext;
import org.apache.paimon.catalog.CatalogFactory;
import org.apache.paimon.catalog.Identifier;
import org.apache.paimon.data.BinaryString;
import org.apache.paimon.data.Decimal;
import org.apache.paimon.data.InternalArray;
import org.apache.paimon.data.InternalMap;
import org.apache.paimon.data.InternalRow;
import org.apache.paimon.data.Timestamp;
import org.apache.paimon.operation.BaseAppendFileStoreWrite;
import org.apache.paimon.AppendOnlyFileStore;
import org.apache.paimon.options.ExpireConfig;
import org.apache.paimon.options.Options;
import org.apache.paimon.predicate.Predicate;
import org.apache.paimon.predicate.PredicateBuilder;
import org.apache.paimon.reader.RecordReader;
import org.apache.paimon.table.FileStoreTable;
import org.apache.paimon.table.Table;
import org.apache.paimon.table.sink.BatchTableCommit;
import org.apache.paimon.table.sink.CommitMessage;
import org.apache.paimon.table.source.ReadBuilder;
import org.apache.paimon.types.ArrayType;
import org.apache.paimon.types.BigIntType;
import org.apache.paimon.types.DataField;
import org.apache.paimon.types.DataType;
import org.apache.paimon.types.MapType;
import org.apache.paimon.types.RowType;

/**
 * Reads tables of a catalog in a folder, compacts them and expires their snapshots. A command a line:
 *
 * <pre>
 * rows WAREHOUSE DATABASE TABLE                      every row, as a JSON object a line
 * rows WAREHOUSE DATABASE TABLE PARTITION OFFSET     those of __partition = PARTITION and __offset >= OFFSET
 * where WAREHOUSE DATABASE TABLE COLUMN NUMBER       those of COLUMN = NUMBER
 * splits WAREHOUSE DATABASE TABLE PARTITION OFFSET   how many files are left to be read for these
 * compact WAREHOUSE DATABASE TABLE                   how many files were compacted
 * expire WAREHOUSE DATABASE TABLE KEPT               how many snapshots went
 * </pre>
 *
 * Every answer ends with a line of its own: `.`, or `!` and why it failed.
 */
public final class PaimonApp {
  private static final BufferedWriter OUT =
      new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 16);

  public static void main(String[] arguments) throws IOException {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      try {
        run(line.split(" "));
        OUT.write(".\n");
      } catch (Throwable failure) {
        failure.printStackTrace();
        OUT.write("! " + String.valueOf(failure).replace('\n', ' ') + "\n");
      }
      OUT.flush();
    }
  }

  private static void run(String[] words) throws Exception {
    Table table = open(words[1], words[2], words[3]);
    switch (words[0]) {
      case "rows", "where" -> rows(table, words);
      case "splits" -> OUT.write(files(table, words) + "\n");
      case "compact" -> OUT.write(compact((FileStoreTable) table) + "\n");
      case "expire" -> {
        int kept = Integer.parseInt(words[4]);
        ExpireConfig config =
            ExpireConfig.builder()
                .snapshotRetainMax(kept)
                .snapshotRetainMin(kept)
                .snapshotTimeRetain(Duration.ZERO)
                .build();
        OUT.write(table.newExpireSnapshots().config(config).expire() + "\n");
      }
      default -> throw new IllegalArgumentException("no command " + words[0]);
    }
  }

  private static Table open(String warehouse, String database, String name) throws Exception {
    Options options = new Options();
    options.set("warehouse", warehouse);
    // The broker writes behind its back.
    options.set("cache-enabled", "false");
    Catalog catalog = CatalogFactory.createCatalog(CatalogContext.create(options));
    return catalog.getTable(Identifier.create(database, name));
  }

  private static ReadBuilder readBuilder(Table table, String[] words) {
    ReadBuilder builder = table.newReadBuilder();
    PredicateBuilder predicates = new PredicateBuilder(table.rowType());
    if (words[0].equals("where")) {
      int column = predicates.indexOf(words[4]);
      long number = Long.parseLong(words[5]);
      boolean wide = table.rowType().getTypeAt(column) instanceof BigIntType;
      builder = builder.withFilter(predicates.equal(column, wide ? (Object) number : (Object) (int) number));
    } else if (words.length > 4) {
      Predicate partition = predicates.equal(predicates.indexOf("__partition"), Integer.parseInt(words[4]));
      Predicate offset = predicates.greaterOrEqual(predicates.indexOf("__offset"), Long.parseLong(words[5]));
      builder = builder.withFilter(List.of(partition, offset));
    }
    return builder;
  }

  private static int files(Table table, String[] words) {
    int files = 0;
    for (var split : readBuilder(table, words).newScan().plan().splits()) {
      files += ((org.apache.paimon.table.source.DataSplit) split).dataFiles().size();
    }
    return files;
  }

  private static void rows(Table table, String[] words) throws Exception {
    ReadBuilder builder = readBuilder(table, words);
    List<DataField> fields = table.rowType().getFields();
    try (RecordReader<InternalRow> reader =
        builder.newRead().executeFilter().createReader(builder.newScan().plan().splits())) {
      reader.forEachRemaining(
          row -> {
            StringBuilder json = new StringBuilder("{");
            object(json, row, fields);
            try {
              OUT.write(json.append("}\n").toString());
            } catch (IOException failure) {
              throw new IllegalStateException(failure);
            }
          });
    }
  }

  private static void object(StringBuilder json, InternalRow row, List<DataField> fields) {
    for (int at = 0; at < fields.size(); at++) {
      text(json.append(at == 0 ? "" : ","), fields.get(at).name());
      DataType type = fields.get(at).type();
      value(json.append(':'), InternalRow.createFieldGetter(type, at).getFieldOrNull(row), type);
    }
  }

  /** Bytes as base64, timestamps as microseconds. */
  private static void value(StringBuilder json, Object value, DataType type) {
    if (value instanceof byte[] bytes) {
      text(json, Base64.getEncoder().encodeToString(bytes));
    } else if (value instanceof BinaryString || value instanceof Decimal) {
      text(json, value.toString());
    } else if (value instanceof Timestamp at) {
      json.append(at.toMicros());
    } else if (value instanceof InternalRow row) {
      json.append('{');
      object(json, row, ((RowType) type).getFields());
      json.append('}');
    } else if (value instanceof InternalArray array) {
      DataType element = ((ArrayType) type).getElementType();
      json.append('[');
      for (int at = 0; at < array.size(); at++) {
        Object item = InternalArray.createElementGetter(element).getElementOrNull(array, at);
        value(json.append(at == 0 ? "" : ","), item, element);
      }
      json.append(']');
    } else if (value instanceof InternalMap map) {
      MapType types = (MapType) type;
      value(json.append("{\"keys\":"), map.keyArray(), new ArrayType(types.getKeyType()));
      value(json.append(",\"values\":"), map.valueArray(), new ArrayType(types.getValueType()));
      json.append('}');
    } else {
      // Numbers, booleans and null are JSON as they are; infinities are none.
      json.append(value);
    }
  }

  private static void text(StringBuilder json, String text) {
    json.append('"');
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') {
        json.append('\\').append(c);
      } else if (c < ' ') {
        json.append(String.format("\\u%04x", (int) c));
      } else {
        json.append(c);
      }
    }
    json.append('"');
  }

  private static int compact(FileStoreTable table) throws Exception {
    int files = 0;
    String user = UUID.randomUUID().toString();
    List<CommitMessage> messages = new ArrayList<>();
    BaseAppendFileStoreWrite write = ((AppendOnlyFileStore) table.store()).newWrite(user);
    for (AppendCompactTask task : new AppendCompactCoordinator(table, false).run()) {
      files += task.compactBefore().size();
      messages.add(task.doCompact(table, write));
    }
    write.close();
    try (BatchTableCommit commit = table.newBatchWriteBuilder().newCommit()) {
      commit.commit(messages);
    }
    return files;
  }
}
