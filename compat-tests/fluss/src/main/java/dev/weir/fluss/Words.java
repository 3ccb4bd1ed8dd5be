package dev.weir.fluss;

import java.util.LinkedHashMap;
import java.util.Map;

/** `key=value` words: how the bench tells its children what to do, and they tell it what they saw. */
final class Words {
    private Words() {}

    static Map<String, String> parse(String... words) {
        Map<String, String> values = new LinkedHashMap<>();
        for (String word : words) {
            int at = word.indexOf('=');
            if (at < 1) {
                throw new IllegalArgumentException("not KEY=VALUE: " + word);
            }
            values.put(word.substring(0, at), word.substring(at + 1));
        }
        return values;
    }
}
