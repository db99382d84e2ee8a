package larder.plugins;

import java.io.ByteArrayOutputStream;
import java.util.Map;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import larder.Exporter;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

public final class Xml implements Exporter {
    public String name() {
        return "xml";
    }

    public String type() {
        return "application/xml";
    }

    public byte[] write(Map<String, Double> dishes) throws Exception {
        Document document = DocumentBuilderFactory.newInstance().newDocumentBuilder().newDocument();
        Element root = document.createElement("dishes");
        document.appendChild(root);
        dishes.forEach((name, price) -> {
            Element dish = document.createElement("dish");
            dish.setAttribute("price", price.toString());
            dish.setTextContent(name);
            root.appendChild(dish);
        });
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        TransformerFactory.newInstance().newTransformer().transform(new DOMSource(document), new StreamResult(out));
        return out.toByteArray();
    }
}
