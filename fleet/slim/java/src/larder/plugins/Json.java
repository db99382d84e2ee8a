package larder.plugins;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Map;
import larder.Exporter;

public final class Json implements Exporter {
    public String name() {
        return "json";
    }

    public String type() {
        return "application/json";
    }

    public byte[] write(Map<String, Double> dishes) throws Exception {
        return new ObjectMapper().writeValueAsBytes(dishes);
    }
}
