package larder;

import java.util.Map;

/** Writes dishes in some format. */
public interface Exporter {
    String name();

    String type();

    byte[] write(Map<String, Double> dishes) throws Exception;
}
